"""How a model is made to forget, and how that is measured."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.precision import default_dtype, precision_name
from gradatim.recipes.unlearning import METHODS

ULD = "uld"
UNLEARN_METHODS = (*METHODS, ULD)
"""Those of the recipe, and "uld", unlearning by logit difference."""

WATCHED_EVERY = 25
"""Updates between evaluations at most, unless it is said how often."""

CHECKPOINTS = 5
"""Checkpoints of a run at most, unless it is said how often."""


@dataclass(frozen=True, kw_only=True)
class UnlearnSettings:
    """How a model is made to forget; see :func:`gradatim.workflows.unlearn.unlearn`.

    Raises:
        InputError: an unknown method, a number outside its range, or adapters for "uld".
    """

    method: str = "npo+kl"
    lr: float | None = None
    epochs: int = 10
    batch_size: int = 4
    accumulate: int = 1
    clip_norm: float | None = 1.0
    beta: float = 0.1
    forget_weight: float = 1.0
    retain_weight: float | None = None
    per_token: bool | None = None
    perplexity_growth: float | None = 2.0
    forget_target: float | None = None
    evaluate_every: int | None = None
    checkpoint_every: int | None = None
    watched: int = 64
    precision: str | None = None
    lora: int | None = None
    layers: int = 8
    assistant_weight: float = -0.8
    relative_top: float = 0.01
    max_tokens: int | None = None
    chunk_tokens: int | None = None
    evaluated: int = 64
    longest: int = 64
    relearn_steps: int = 10
    relearn_lr: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check what the recipes do not check before any work is done."""
        check_choice("method", self.method, UNLEARN_METHODS)
        for name in ("evaluated", "longest", "layers"):
            check_range(name, getattr(self, name), 1)
        check_range("relearn_steps", self.relearn_steps, 0)
        for name in ("lora", "checkpoint_every", "evaluate_every"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 1)
        for name in ("max_tokens", "chunk_tokens"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 4)
        if self.perplexity_growth is not None:
            check_range("perplexity_growth", self.perplexity_growth, 1, open_low=True)
        for name in ("lr", "relearn_lr"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 0, open_low=True)
        if self.method == ULD and self.lora is not None:
            raise InputError(
                "lora: expected no adapters with method 'uld', whose assistant is trained by "
                "adapters anyway and written as a model of its own"
            )
        if self.method == ULD and self.forget_target is not None:
            raise InputError(
                "forget_target: expected none with method 'uld', whose untrained assistant hides "
                "everything; set epochs"
            )

    @property
    def by_difference(self) -> bool:
        """Whether an assistant is trained instead of the model."""
        return self.method == ULD

    @property
    def keeps(self) -> bool:
        """Whether the loss reads what is to be kept."""
        return self.by_difference or "+" in self.method

    @property
    def rate(self) -> float:
        """The learning rate: 1e-5 for whole models, 2e-4 for adapters, 1e-3 for an assistant."""
        if self.lr is not None:
            return self.lr
        if self.by_difference:
            return 1e-3
        return 1e-5 if self.lora is None else 2e-4

    @property
    def attack_rate(self) -> float:
        """The learning rate of the relearning attack; that of unlearning if none is given."""
        return self.rate if self.relearn_lr is None else self.relearn_lr

    @property
    def watched_growth(self) -> float | None:
        """What training is stopped for; an untrained assistant does harm at first, and is not."""
        return None if self.by_difference else self.perplexity_growth

    @property
    def kept_weight(self) -> float:
        """The weight of what is to be kept: 1, or 5 with an assistant."""
        if self.retain_weight is not None:
            return self.retain_weight
        return 5.0 if self.by_difference else 1.0

    def precision_on(self, device: torch.device) -> str:
        """The precision that is trained in."""
        return self.precision or precision_name(default_dtype(device))

    def checkpoints(self, updates_of_an_epoch: int) -> int:
        """Updates between checkpoints."""
        if self.checkpoint_every is not None:
            return self.checkpoint_every
        return max(updates_of_an_epoch, self.epochs * updates_of_an_epoch // CHECKPOINTS)

    def evaluations(self, updates_of_an_epoch: int) -> int:
        """Updates between evaluations: an epoch, but not too many."""
        if self.evaluate_every is not None:
            return self.evaluate_every
        return min(updates_of_an_epoch, WATCHED_EVERY)

    def record(self) -> dict[str, Any]:
        """The settings as plain values."""
        return asdict(self)
