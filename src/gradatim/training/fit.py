"""``fit``: the one training loop, on Hugging Face Accelerate."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.examples import as_examples
from gradatim.training.batches import Batches, ShuffledBatches
from gradatim.training.callbacks import Callback
from gradatim.training.history import Row
from gradatim.training.loading import Collate
from gradatim.training.loop import Loop
from gradatim.training.processes import check_supported
from gradatim.training.step import Loss, Models, State, as_mapping

if TYPE_CHECKING:
    from accelerate import Accelerator

Step = Callable[[Any, dict[str, Any], State], Loss]
Evaluate = Callable[[Any, State], Mapping[str, float]]
PRECISIONS = ("float32", "bfloat16", "float16")


class Stateful(Protocol):
    """State beside the model that a checkpoint must keep (memories, prototype banks, queues)."""

    def state_dict(self) -> Mapping[str, Any]:
        """What to keep."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what was kept."""
        ...


@dataclass(frozen=True)
class FitResult:
    """What came of a call of :func:`fit`.

    Attributes:
        history: one dictionary a row: step, epoch, loss, logs, evaluation.
        step: updates done.
        epoch: epochs begun.
        stopped_early: whether a callback ended training before its time.
        resumed_from: the update that training was taken up at; 0 if from the start.
    """

    history: list[Row]
    step: int
    epoch: int
    stopped_early: bool
    resumed_from: int


def fit(
    model: Models,
    examples: Any,
    step: Step,
    *,
    optimizer: torch.optim.Optimizer | Mapping[str, torch.optim.Optimizer],
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    batches: Batches | None = None,
    schedulers: Any = (),
    accumulate: int = 1,
    clip_norm: float | None = None,
    precision: str | None = None,
    callbacks: Sequence[Callback] = (),
    stateful: Mapping[str, Stateful] | None = None,
    evaluate: Evaluate | None = None,
    evaluate_every: int | None = None,
    log_every: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int | None = None,
    keep_checkpoints: int = 2,
    seed: int = 0,
    workers: int = 0,
    collate: Collate | None = None,
    accelerator: "Accelerator | None" = None,
    progress_bar: bool | None = None,
) -> FitResult:
    r"""Train a model on examples with a step of your own.

    The gradient of an update is that of :math:`\sum_b s_b / \sum_b c_b` over all batches b that
    it accumulates, in all processes, where :math:`s_b` and :math:`c_b` are the sum and the count
    of the :class:`Loss` that the step returns.

    Training can be killed at any moment: called again with the same arguments and the same
    ``checkpoint`` folder, it goes on from the newest checkpoint and ends, on a CPU or with
    deterministic kernels, with the same bits as if it had never been interrupted. A finished run
    called again loads its result. Call ``fit`` again with another folder for a further phase.

    Args:
        model: a module, or several by name; the step receives them as they are given here.
        examples: anything with ``len`` and ``examples[list of positions] -> columns`` (a
            ``datasets.Dataset``, ``TensorExamples``), or what ``as_examples`` makes one of.
        step: ``step(model, batch, state) -> Loss``; ``state.index`` holds the positions of the
            batch's examples, ``state.progress`` the t of curricula.
        optimizer: one, or several by name (a :class:`Loss` can name those that step).
        epochs: passes over the plan of batches; give this or ``steps``.
        steps: number of updates.
        batch_size: examples in a batch over all processes (64 if nothing else is given).
        batches: a plan of batches instead of ``batch_size`` (curricula, weights, a fixed order).
        schedulers: learning-rate schedulers, one or several, stepped after every update.
        accumulate: batches in an update.
        clip_norm: largest global norm of the gradients; None does not clip.
        precision: "float32", "bfloat16" or "float16" (with loss scaling); None takes what
            ``accelerate launch`` was told, else float32.
        callbacks: what plugs in at the events named in ``gradatim.training.callbacks``.
        stateful: further state by name that checkpoints keep; an object with
            ``synchronize(gather)`` is merged over processes after every update.
        evaluate: ``evaluate(model, state) -> metrics``, without gradients, in evaluation mode.
        evaluate_every: updates between evaluations; None for the end of each epoch.
        log_every: updates between rows of the history; None for the end of each epoch.
        checkpoint: folder of this run's checkpoints; None keeps none.
        checkpoint_every: updates between checkpoints; None for the end of each epoch.
        keep_checkpoints: how many of them to keep.
        seed: what batches, ``state.generator``, dropout and noise depend on; a run that starts
            seeds the global generators of Python, numpy and torch with it.
        workers: processes that prefetch batches.
        collate: columns to tensors, instead of ``gradatim.core.examples.collate``.
        accelerator: an Accelerate object of your own.
        progress_bar: show one; None shows it on a terminal.

    Returns:
        The history and where training ended; the model itself is trained in place.

    Raises:
        InputError: arguments that contradict one another; a checkpoint of another model or of
            other settings.
        NonFiniteLossError: the loss became NaN or infinite (noticed when a row of the history is
            closed or a checkpoint is due; the last checkpoint is from before).

    >>> from gradatim.core.examples import TensorExamples
    >>> x = torch.linspace(-1, 1, 64)[:, None]
    >>> data = TensorExamples(x=x, y=3 * x)
    >>> model = torch.nn.Linear(1, 1)
    >>> def step(model, batch, state):
    ...     return Loss.of((model(batch["x"]) - batch["y"]).square().mean(dim=1))
    >>> sgd = torch.optim.SGD(model.parameters(), lr=0.3)
    >>> result = fit(model, data, step, optimizer=sgd, epochs=20, batch_size=16)
    >>> round(model.weight.item(), 2), result.step
    (3.0, 80)
    """
    examples = as_examples(examples)
    _check_arguments(examples, epochs, steps, batch_size, batches, precision)
    for name, value in {
        "accumulate": accumulate,
        "evaluate_every": evaluate_every,
        "log_every": log_every,
        "checkpoint_every": checkpoint_every,
        "keep_checkpoints": keep_checkpoints,
    }.items():
        if value is not None:
            check_range(name, value, 1)
    if clip_norm is not None:
        check_range("clip_norm", clip_norm, 0, open_low=True)
    accelerator = accelerator or _accelerator()
    check_supported(accelerator)
    plan = batches or _default_batches(len(examples), batch_size, seed, accelerator.num_processes)
    loop = Loop(
        models=as_mapping(model, "model"),
        single=not isinstance(model, Mapping),
        examples=examples,
        step=step,
        optimizers=as_mapping(optimizer, "optimizer"),
        schedulers=list(schedulers) if isinstance(schedulers, Sequence) else [schedulers],
        batches=plan,
        total_steps=steps or (epochs or 0) * -(-len(plan) // accumulate),
        accumulate=accumulate,
        clip_norm=clip_norm,
        precision=precision,
        callbacks=list(callbacks),
        stateful=dict(stateful or {}),
        evaluate=evaluate,
        evaluate_every=evaluate_every,
        log_every=log_every,
        folder=None if checkpoint is None else Path(checkpoint),
        checkpoint_every=checkpoint_every,
        keep=keep_checkpoints,
        seed=seed,
        workers=workers,
        collate=collate,
        accelerator=accelerator,
        progress_bar=progress_bar,
    )
    resumed_from = loop.run()
    state = loop.state
    return FitResult(
        loop.history.rows, state.step, state.epoch, state.step < state.total_steps, resumed_from
    )


def _check_arguments(
    examples: Any,
    epochs: int | None,
    steps: int | None,
    batch_size: int | None,
    batches: Batches | None,
    precision: str | None,
) -> None:
    """Check what can be checked before anything is built."""
    if (epochs is None) == (steps is None):
        raise InputError(
            "epochs, steps: expected one of the two, got " + ("none", "both")[bool(epochs)]
        )
    check_range(
        "epochs" if steps is None else "steps", (epochs if steps is None else steps) or 0, 1
    )
    if batch_size is not None and batches is not None:
        raise InputError("batch_size, batches: expected one of the two, got both")
    if batches is not None and not len(batches):
        raise InputError("batches: expected at least one batch an epoch, got none")
    if not len(examples):
        raise InputError("examples: expected at least one example, got none")
    if precision is not None:
        check_choice("precision", precision, PRECISIONS)


def _accelerator() -> "Accelerator":
    from accelerate import Accelerator

    return Accelerator()


def _default_batches(
    num_examples: int, batch_size: int | None, seed: int, world: int
) -> ShuffledBatches:
    """A shuffled plan whose last batch is never smaller than the number of processes."""
    size = batch_size or 64
    rest = num_examples % size
    merge = 0 < rest < world
    return ShuffledBatches(num_examples, size, seed=seed, remainder="merge" if merge else "keep")
