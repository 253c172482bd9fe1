"""Curricula that learn from training (losses, successes), as adapters see them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from gradatim.core.errors import InputError
from gradatim.core.files import atomic_directory
from gradatim.training.batches import Batches
from gradatim.training.checkpoint import check_settings
from gradatim.training.serialization import load_state, save_state

FOLDER = "curriculum"


@runtime_checkable
class Feedback(Protocol):
    """A curriculum that is told how training goes, such as ``SelfPaced`` and ``TargetSuccess``."""

    batches: Any

    def refresh(self) -> None:
        """Let what was recorded count from the next epoch on."""
        ...

    def synchronize(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Merge what the processes recorded."""
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """What a checkpoint must keep beside the state of the batches."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a state."""
        ...


def plan_and_feedback(curriculum: Any) -> tuple[Batches, Feedback | None]:
    """Separate a curriculum into its plan of batches and what learns from training, if anything.

    Args:
        curriculum: a plan of batches, or an object with one in ``batches``.

    Raises:
        InputError: neither.

    >>> from gradatim.training.self_paced import SelfPaced
    >>> paced = SelfPaced(4, 2)
    >>> plan_and_feedback(paced) == (paced.batches, paced)
    True
    """
    if isinstance(curriculum, Feedback):
        return curriculum.batches, curriculum
    if isinstance(curriculum, Batches):
        return curriculum, None
    raise InputError(
        "curriculum: expected a plan of batches (such as CurriculumBatches) or SelfPaced or "
        f"TargetSuccess, got {type(curriculum).__name__}"
    )


def read_curriculum(plan: Batches, feedback: Feedback | None) -> dict[str, Any]:
    """The state of a curriculum, to be kept in a checkpoint."""
    return {
        "plan": plan.state_dict() if hasattr(plan, "state_dict") else None,
        "feedback": None if feedback is None else dict(feedback.state_dict()),
    }


def write_curriculum(plan: Batches, feedback: Feedback | None, state: Mapping[str, Any]) -> None:
    """Take up what :func:`read_curriculum` returned.

    Raises:
        InputError: the state is that of another kind of curriculum.
    """
    parts = {"plan": plan if hasattr(plan, "load_state_dict") else None, "feedback": feedback}
    for name, part in parts.items():
        if (part is None) != (state[name] is None):
            has = {True: "none", False: "some"}
            raise InputError(
                f"checkpoint: was made with another kind of curriculum: state of its {name}: "
                f"{has[state[name] is None]}, of this one's: {has[part is None]}"
            )
    for name, part in parts.items():
        if part is not None:
            part.load_state_dict(state[name])


def save_curriculum(
    checkpoint: Path, plan: Batches, feedback: Feedback | None, settings: Mapping[str, Any]
) -> None:
    """Write a curriculum's state into ``checkpoint/curriculum``, whole or not at all.

    Args:
        checkpoint: the folder of a trainer's checkpoint.
        plan: the plan of batches.
        feedback: what learns from training, if anything.
        settings: what must be the same when training is taken up again.
    """
    with atomic_directory(checkpoint / FOLDER) as folder:
        state = {"settings": dict(settings), **read_curriculum(plan, feedback)}
        save_state(state, folder, "curriculum")


def load_curriculum(
    checkpoint: Path, plan: Batches, feedback: Feedback | None, settings: Mapping[str, Any]
) -> None:
    """Take up what :func:`save_curriculum` wrote.

    Raises:
        InputError: the checkpoint holds no curriculum, or one with other settings or difficulties.
    """
    folder = checkpoint / FOLDER
    if not folder.is_dir():
        raise InputError(
            f"{checkpoint}: holds no state of a curriculum: it was made without one, or its "
            "writing was cut off; resume from another checkpoint"
        )
    state = load_state(folder, "curriculum")
    check_settings(state["settings"], settings, str(checkpoint))
    write_curriculum(plan, feedback, state)


def gather_over_processes(rows: torch.Tensor) -> torch.Tensor:
    """Concatenate tensors over the processes of ``torch.distributed`` in rank order.

    Their first dimensions may differ. In a single process the rows come back as they are.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return rows
    world = distributed.get_world_size()
    device = rows.device if distributed.get_backend() != "nccl" else torch.device("cuda")
    sent = rows.to(device)
    sizes = [torch.zeros(1, dtype=torch.int64, device=device) for _ in range(world)]
    distributed.all_gather(sizes, torch.tensor([len(sent)], device=device))
    longest = max(int(size) for size in sizes)
    padded = sent.new_zeros((longest, *sent.shape[1:]))
    padded[: len(sent)] = sent
    parts = [torch.zeros_like(padded) for _ in range(world)]
    distributed.all_gather(parts, padded)
    kept = [part[: int(size)] for part, size in zip(parts, sizes, strict=True)]
    return torch.cat(kept).to(rows.device)
