"""What methods that improve a policy have in common: sampling, rewards, and where they stand."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape
from gradatim.core.errors import GradatimError, InputError
from gradatim.core.precision import default_dtype, precision_name
from gradatim.core.seeds import derive_seed
from gradatim.evaluators.scorers import Evaluator, Prompts
from gradatim.language.causal_lm import CausalLM
from gradatim.language.sampling import Responses, sample
from gradatim.training.fit import PRECISIONS

Verify = Callable[[Responses], torch.Tensor]
"""Whether answers are right: 1 or 0, and NaN where the right answer is not available, [R]."""

Optimizers = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


class NonFiniteRewardError(GradatimError, ArithmeticError):
    """A reward is NaN or infinite; the policy is left as it was before the round."""


@dataclass(frozen=True)
class Sampling:
    """How responses are sampled.

    Attributes:
        copies: responses to each prompt.
        longest: new tokens at most.
        stop: tokens that end a response.
        temperature: of the softmax.
        batch_rows: rows decoded at once.

    Raises:
        InputError: a number outside its range.
    """

    copies: int = 8
    longest: int = 256
    stop: Collection[int] = ()
    temperature: float = 1.0
    batch_rows: int = 256

    def __post_init__(self) -> None:
        """Check the numbers."""
        check_range("copies", self.copies, 1)
        check_range("longest", self.longest, 1)
        check_range("batch_rows", self.batch_rows, 1)
        check_range("temperature", self.temperature, 0, open_low=True)


@dataclass(frozen=True)
class Run:
    """One call of ``EasyToHardRL.fit``: what a method works with.

    Attributes:
        policy: the language model that is improved, in place.
        evaluator: scores responses whose answer cannot be verified, and ranks the others.
        prompts: token ids of each problem.
        verify: which answers are right, where that is available.
        sampling: how responses are sampled.
        demonstrations: prompts and solutions that are mixed in where a method tunes; or None.
        seed: what everything random depends on.
        checkpoint: folder of this run's checkpoints; or None.
        precision: what is trained in, as ``fit`` names it; None for the device's best.

    Raises:
        InputError: an unknown precision.
    """

    policy: CausalLM
    evaluator: Evaluator
    prompts: Prompts
    verify: Verify
    sampling: Sampling
    demonstrations: tuple[Prompts, Responses] | None = None
    seed: int = 0
    checkpoint: Path | None = None
    precision: str | None = None

    def __post_init__(self) -> None:
        """Check the precision."""
        if self.precision is not None:
            check_choice("precision", self.precision, PRECISIONS)

    def sample(self, prompts: Prompts, number: int) -> Responses:
        """Responses of the present policy, in evaluation mode: dropout is for training alone."""
        options = self.sampling
        self.policy.eval()
        return sample(
            self.policy,
            prompts,
            copies=options.copies,
            longest=options.longest,
            stop=options.stop,
            temperature=options.temperature,
            batch_rows=options.batch_rows,
            seed=derive_seed(self.seed, "samples", number),
        )

    def correct(self, responses: Responses) -> torch.Tensor:
        """What ``verify`` says, checked, shape [R].

        Raises:
            InputError: it is not one number a response, or one is neither 1, 0 nor NaN.
        """
        found = _as_numbers("verify", self.verify(responses), len(responses))
        wrong = (~found.isnan() & (found != 0) & (found != 1)).nonzero()[:, 0]
        if len(wrong):
            raise InputError(
                f"verify: expected 1 (right), 0 (wrong) or NaN (no answer available), got "
                f"{float(found[wrong[0]]):g} for response {int(wrong[0])} "
                f"({len(wrong)} of {len(found)})"
            )
        return found

    def scores(self, responses: Responses) -> torch.Tensor:
        """What the evaluator says, checked, shape [R].

        Raises:
            InputError: it is not one number a response.
            NonFiniteRewardError: a score is NaN or infinite.
        """
        given = self.evaluator(self.prompts, responses)
        found = _as_numbers("evaluator", given, len(responses))
        refuse_rewards("evaluator", found, ~found.isfinite())
        return found

    def training_precision(self) -> str:
        """The name of the precision to train in."""
        return self.precision or precision_name(default_dtype(self.policy.device))

    def reading_dtype(self) -> torch.dtype:
        """The same precision, for what is read to be compared with figures of training."""
        dtype: torch.dtype = getattr(torch, self.training_precision())
        return dtype

    def round_folder(self, number: int) -> Path | None:
        """Where training inside a round keeps checkpoints, until the round is done.

        Each round has a folder of its own: one that a kill left behind after its round was done
        must not be taken for that of the next.
        """
        return None if self.checkpoint is None else self.checkpoint / f"round-{number:06d}"


class Method(Protocol):
    """A way to improve a policy, round by round."""

    rounds: int

    def begin(self, run: Run) -> None:
        """Make ready for a run, before its first round."""
        ...

    def improve(self, run: Run, number: int) -> dict[str, float]:
        """One round: sample, judge, train.

        Args:
            run: what to work with.
            number: the round, from 0.

        Returns:
            Figures of the round.

        Raises:
            NonFiniteRewardError: a reward is not finite; nothing was trained in this round.
        """
        ...

    def state_dict(self) -> Mapping[str, Any]:
        """What a checkpoint must keep beside the policy."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what was kept, after :meth:`begin`."""
        ...


def _as_numbers(name: str, given: Any, count: int) -> torch.Tensor:
    """What a function of the user returned, as float32 on the CPU, one number a response."""
    found = torch.as_tensor(given).detach()
    if found.shape != (count,):
        raise InputError(
            f"{name}: expected one number for each of the {count} responses, shape [{count}], "
            f"got shape {list(found.shape)}"
        )
    return found.to("cpu", torch.float32)


def check_clip_norm(clip_norm: float | None) -> None:
    """Check the largest norm of gradients, before hours of sampling."""
    if clip_norm is not None:
        check_range("clip_norm", clip_norm, 0, open_low=True)


def checkpoint_interval(steps: int) -> int:
    """Updates between checkpoints of a round's training: four times, however short its epochs."""
    return max(1, steps // 4)


def refuse_rewards(name: str, rewards: torch.Tensor, wrong: torch.Tensor) -> None:
    """Raise an error that names the first reward that cannot be trained on.

    Args:
        name: where the rewards come from.
        rewards: the first dimension is that of responses.
        wrong: which of them cannot be trained on, the same shape.

    Raises:
        NonFiniteRewardError: there is one.
    """
    places = wrong.nonzero()
    if len(places):
        first = tuple(places[0].tolist())
        raise NonFiniteRewardError(
            f"{name}: expected finite rewards, got {float(rewards[first])} for response "
            f"{first[0]} ({len(places)} of {wrong.numel()}); the policy is that of the last round"
        )


def group_ranks(groups: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """The rank of each row among those of its group by falling score, from 0; ties in row order.

    Args:
        groups: integers, shape [R].
        scores: shape [R].

    Returns:
        Integers, shape [R].

    Raises:
        InputError: the shapes differ.

    >>> group_ranks(torch.tensor([0, 0, 1]), torch.tensor([0.1, 0.9, 0.5])).tolist()
    [1, 0, 0]
    """
    check_shape("groups", groups, "R")
    check_same_shape("scores", scores, "groups", groups)
    by_score = scores.argsort(descending=True, stable=True)
    order = by_score[groups[by_score].argsort(stable=True)]
    ordered = groups[order]
    places = torch.arange(len(order), device=order.device)
    fresh = torch.ones_like(ordered, dtype=torch.bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    starts = torch.where(fresh, places, 0).cummax(dim=0).values
    ranks = torch.empty_like(places)
    ranks[order] = places - starts
    return ranks
