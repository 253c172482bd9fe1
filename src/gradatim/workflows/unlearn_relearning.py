"""The relearning attack: does a part of what was forgotten bring back the rest?"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gradatim.core.seeds import numpy_generator
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.training.batches import ShuffledBatches
from gradatim.training.fit import fit
from gradatim.training.history import NonFiniteLossError
from gradatim.training.step import Loss, State
from gradatim.workflows.unlearn_encoding import EncodedTexts

Measure = Callable[[CausalLM, EncodedTexts], Mapping[str, float]]


@dataclass(frozen=True)
class RelearningAttack:
    """A few updates on one half of what was forgotten, and what they bring back of the other half.

    Attributes:
        steps: updates, of AdamW on cross-entropy; 0 makes no attack.
        lr: learning rate.
        batch_size: texts in a batch.
        precision: as ``fit`` takes it.
        seed: what the halves and the order depend on.
    """

    steps: int
    lr: float
    batch_size: int
    precision: str
    seed: int

    def halves(self, count: int) -> tuple[list[int], list[int]]:
        """Positions of what the attack learns, and of what it does not see."""
        order = numpy_generator(self.seed, "relearning").permutation(count).tolist()
        return sorted(order[: count // 2]), sorted(order[count // 2 :])

    def __call__(
        self, model: CausalLM, forget: EncodedTexts, measure: Measure
    ) -> dict[str, float] | None:
        """Attack a model, whose weights are afterwards what they were.

        Args:
            model: the model; its parameters that need a gradient are trained.
            forget: what it was to forget.
            measure: figures of a model on some texts.

        Returns:
            The figures as ``seen/...`` and ``unseen/...``, before and, with ``_after`` at the end,
            after the attack; None if there are too few texts to make two halves, or if its loss
            did not stay finite.
        """
        if not self.steps or len(forget) < 2:
            return None
        parts = dict(
            zip(("seen", "unseen"), map(forget.take, self.halves(len(forget))), strict=True)
        )
        kept = {
            name: weight.detach().to("cpu", copy=True)
            for name, weight in model.named_parameters()
            if weight.requires_grad
        }
        figures = _figures(model, parts, measure, "")
        try:
            self._train(model, parts["seen"])
            figures |= _figures(model, parts, measure, "_after")
        except NonFiniteLossError:
            return None
        finally:
            with torch.no_grad():
                for name, weight in model.named_parameters():
                    if name in kept:
                        weight.copy_(kept[name])
        return figures

    def _train(self, model: CausalLM, texts: EncodedTexts) -> None:
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        size = min(self.batch_size, len(texts))
        try:
            fit(
                model, texts.examples(), _step,
                optimizer=torch.optim.AdamW(trained, self.lr, weight_decay=0.0),
                steps=self.steps, batches=ShuffledBatches(len(texts), size, seed=self.seed),
                clip_norm=1.0, precision=self.precision, seed=self.seed, progress_bar=False,
            )  # fmt: skip
        finally:
            model.eval()


def _step(model: CausalLM, batch: Mapping[str, Any], state: State) -> Loss:
    """Cross-entropy of the responses."""
    response = batch["response"]
    logp = token_log_probabilities(model, batch["ids"], batch["mask"], only=response)
    return Loss(-logp.sum(), response.sum(), {})


def _figures(
    model: CausalLM, parts: Mapping[str, EncodedTexts], measure: Measure, ending: str
) -> dict[str, float]:
    return {
        f"{part}/{name}{ending}": value
        for part, texts in parts.items()
        for name, value in measure(model, texts).items()
    }
