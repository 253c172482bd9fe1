"""Recording how each example is learned: running figures of constant size an example."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gradatim.core.checks import check_range, check_same_shape, check_shape
from gradatim.core.memory import ExampleMemory
from gradatim.difficulty.training_dynamics import error_lengths, logit_margins
from gradatim.training.callbacks import Callback
from gradatim.training.step import State

_SEEN, _MEAN, _SPREAD, _RIGHT, _LAST, _EVENTS, _MARGIN, _ERROR, _EARLY = range(9)
_WIDTH = 9  # columns of the memory


class DynamicsRecorder(Callback):
    r"""Keeps EL2N, forgetting events, data map and area under the margin while a model trains.

    A step reports the logits that it has computed anyway; nothing is read twice. What is kept are
    nine numbers an example (36 bytes), however long training takes: means, Welford's sum of
    squares, and the count of forgetting events. Hand it to ``fit`` as one of the ``callbacks``: it
    is then part of the checkpoints and merged over processes.

    An example is expected at most once in a batch; what is drawn twice counts once.

    Args:
        num_examples: how many examples there are.
        early: epochs whose error vectors count for EL2N, which is meant early in training; None
            counts all.
        device: where the numbers are kept; give the device that is trained on, so that no batch
            waits for a copy.

    Source: Paul et al. 2021, arXiv 2107.07075; Toneva et al. 2019, arXiv 1812.05159; Swayamdipta et
    al. 2020, arXiv 2009.10795; Pleiss et al. 2020, arXiv 2001.10528.

    >>> from gradatim.core.examples import TensorExamples
    >>> from gradatim.training import Loss, fit
    >>> data = TensorExamples(x=[[-2.0], [-1.0], [1.0], [2.0], [1.5]], y=[0, 0, 1, 1, 0])
    >>> model = torch.nn.Linear(1, 2)
    >>> dynamics = DynamicsRecorder(len(data))
    >>> def step(model, batch, state):
    ...     logits = model(batch["x"])
    ...     dynamics.record(state, logits, batch["y"])
    ...     loss = torch.nn.functional.cross_entropy(logits, batch["y"], reduction="none")
    ...     return Loss.of(loss)
    >>> sgd = torch.optim.SGD(model.parameters(), lr=0.5)
    >>> _ = fit(model, data, step, optimizer=sgd, epochs=30, batch_size=2, callbacks=[dynamics])
    >>> int(dynamics.difficulty()["map_confidence"].argmax())
    4
    """

    def __init__(
        self,
        num_examples: int,
        *,
        early: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if early is not None:
            check_range("early", early, 1)
        self.early = early
        self.memory = ExampleMemory(num_examples, (_WIDTH,), device=device)

    def record(self, state: State, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """Take note of what a model predicts for the examples of the current batch.

        Args:
            state: what the step received; it tells which examples these are.
            logits: as they are before the update, shape [B, C].
            labels: the given classes, shape [B].

        Raises:
            InputError: the shapes do not fit.
        """
        with torch.no_grad():
            scores = logits.detach().float()
            margin = logit_margins(scores, labels)
            probabilities = scores.softmax(dim=1)
            own = probabilities.gather(1, labels[:, None])[:, 0]
            error = error_lengths(probabilities, labels)
            self.record_figures(state, own, margin > 0, margin=margin, error=error)

    @torch.no_grad()
    def record_figures(
        self,
        state: State,
        probability: torch.Tensor,
        correct: torch.Tensor,
        *,
        margin: torch.Tensor | None = None,
        error: torch.Tensor | None = None,
    ) -> None:
        """Take note of figures that a step has worked out itself, as for sequences of tokens.

        Args:
            state: what the step received.
            probability: of the label, or the mean over a completion's tokens, shape [B].
            correct: whether the example is predicted right, shape [B].
            margin: for the area under the margin, shape [B]; without it that area is NaN.
            error: length of the error vector, shape [B]; without it EL2N is NaN.

        Raises:
            InputError: the shapes do not fit.
        """
        check_shape("probability", probability, len(state.index))
        given = (("correct", correct), ("margin", margin), ("error", error))
        for name, values in given:
            if values is not None:
                check_same_shape(name, values, "probability", probability)
        index = state.index.to(self.memory.values.device)
        early = self.early is None or state.epoch < self.early
        before = self.memory.get(index)
        after = _moved(
            before,
            probability.to(before),
            correct.to(before),
            None if margin is None else margin.to(before),
            None if error is None else error.to(before),
            early=early,
        )
        self.memory.set(index, after)

    def values(self) -> dict[str, torch.Tensor]:
        """What was recorded, in the orientation of the papers, each of shape [n].

        Returns:
            "presentations"; "el2n" (high = hard); "forgetting" (high = hard, never learned =
            number of presentations); "confidence" (low = hard); "variability" (high = ambiguous);
            "correctness" (low = hard); "aum" (low = hard). NaN for examples that never came up.
        """
        kept = self.memory.values
        seen = kept[:, _SEEN]
        absent = seen == 0
        found = {
            "el2n": kept[:, _ERROR] / kept[:, _EARLY],
            "forgetting": torch.where(kept[:, _RIGHT] > 0, kept[:, _EVENTS], seen),
            "confidence": kept[:, _MEAN],
            "variability": (kept[:, _SPREAD] / seen.clamp(min=1)).clamp(min=0).sqrt(),
            "correctness": kept[:, _RIGHT] / seen.clamp(min=1),
            "aum": kept[:, _MARGIN],
        }
        figures = {name: values.masked_fill(absent, math.nan) for name, values in found.items()}
        return {"presentations": seen.clone(), **figures}

    def difficulty(self) -> dict[str, torch.Tensor]:
        """The same as measures of difficulty, all higher = harder, each of shape [n].

        Returns:
            "el2n", "forgetting", "map_confidence" (one minus the confidence), "variability",
            "correctness" (one minus it), "aum" (minus the area).
        """
        found = self.values()
        return {
            "el2n": found["el2n"],
            "forgetting": found["forgetting"],
            "map_confidence": 1 - found["confidence"],
            "variability": found["variability"],
            "correctness": 1 - found["correctness"],
            "aum": -found["aum"],
        }

    def synchronize(self, gather: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Merge what the processes recorded."""
        self.memory.synchronize(gather)

    def state_dict(self) -> Mapping[str, Any]:
        """All that was recorded."""
        return self.memory.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what was recorded."""
        self.memory.load_state_dict(state)


def _moved(
    before: torch.Tensor,
    probability: torch.Tensor,
    right: torch.Tensor,
    margin: torch.Tensor | None,
    error: torch.Tensor | None,
    *,
    early: bool,
) -> torch.Tensor:
    """The rows of a batch, shape [B, 9], after one more presentation of its examples."""
    seen, mean, spread, rights, last, events, margins, errors, counted = before.unbind(dim=1)
    unknown = torch.full_like(mean, math.nan) if margin is None or error is None else mean
    now = seen + 1
    step = probability - mean
    share = step / now
    after = [
        now,
        mean + share,
        spread + step * (step - share),
        rights + right,
        right,
        events + (last > right),
        unknown if margin is None else margins + (margin - margins) / now,
        errors,
        counted,
    ]
    if early:
        after[_ERROR:] = [unknown if error is None else errors + error, counted + 1]
    return torch.stack(after, dim=1)
