"""Two models that weigh each other's negatives: what is relevant, and who would have been judged.

A document without a label is irrelevant, or it was never judged. The model of selection tells the
two apart::

    recipe = CoupledEstimation(temperature=10.0)
    models = {"relevance": ranker, "selection": observer}
    optimizers = {name: torch.optim.AdamW(model.parameters()) for name, model in models.items()}
    fit(models, examples, recipe.step, optimizer=optimizers, epochs=1)

Afterwards ``ranker`` ranks; ``observer`` is not needed any more.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.curriculum.coupled_weights import coupled_weights
from gradatim.objectives.ranking import pairwise_ranking_loss
from gradatim.training.callbacks import Callback
from gradatim.training.fit import Stateful
from gradatim.training.step import Loss, State

Score = Callable[[nn.Module, Mapping[str, Any], str, str], Tensor]
MODELS = ("relevance", "selection")


def score_of_column(model: nn.Module, batch: Mapping[str, Any], name: str, side: str) -> Tensor:
    """The model applied to the column ``{name}_{side}``, flattened to shape [B]."""
    outputs: Tensor = model(batch[f"{name}_{side}"])
    return outputs.flatten()


class CoupledEstimation:
    r"""Pairwise losses of two models, each weighted by what the other thinks of the negative.

    .. math::
        L = \frac{1}{B} \sum_i w(g_i^-) \log \bigl( 1 + e^{f_i^- - f_i^+} \bigr)
        + w(f_i^-) \log \bigl( 1 + e^{g_i^- - g_i^+} \bigr)

    with f the logits of relevance, g those of selection, and w of
    :func:`gradatim.curriculum.coupled_weights.coupled_weights`. Weights come from the present
    models in evaluation mode, without a gradient: neither loss moves the other model. Symmetry is
    broken by what the two models see. Of one form and on one input, as in the authors' code, they
    can learn the same, and then w favours negatives that look relevant.

    Args:
        temperature: kappa, above 0; 10 in the authors' script.
        mode: "inverse" or "posterior" weights.
        max_weight: largest weight; None for no bound.
        self_normalize: divide each batch's weights by their mean.
        score: ``score(model, batch, name, side)`` gives logits [B], with the name "relevance" or
            "selection" and the side "positive" or "negative"; by default the model applied to the
            batch's column ``{name}_{side}``.
        dropout: whether a model in training gives other scores than in evaluation mode; without
            dropout and the like, False saves a forward pass of each model on the negatives.

    Raises:
        InputError: an unknown mode, or a number out of range.

    Source: Cai et al. 2022, arXiv 2209.05072, and the authors' code, which clips the gradients of
    the two models apart.

    >>> from gradatim.core.examples import TensorExamples
    >>> from gradatim.training.fit import fit
    >>> models = {name: nn.Linear(1, 1) for name in MODELS}
    >>> columns = {f"{name}_{side}": torch.full((8, 1), value) for name in MODELS
    ...            for side, value in (("positive", 1.0), ("negative", -1.0))}
    >>> optimizers = {name: torch.optim.SGD(m.parameters(), 0.1) for name, m in models.items()}
    >>> recipe = CoupledEstimation()
    >>> _ = fit(models, TensorExamples(**columns), recipe.step, optimizer=optimizers, epochs=30)
    >>> bool(models["relevance"].weight > 0) and bool(models["selection"].weight > 0)
    True
    """

    def __init__(
        self,
        temperature: float = 10.0,
        *,
        mode: Literal["inverse", "posterior"] = "inverse",
        max_weight: float | None = None,
        self_normalize: bool = False,
        score: Score = score_of_column,
        dropout: bool = True,
    ) -> None:
        check_range("temperature", temperature, 0.0, open_low=True)
        check_choice("mode", mode, ("inverse", "posterior"))
        if max_weight is not None:
            check_range("max_weight", max_weight, 0.0, open_low=True)
        self.temperature, self.mode, self.max_weight = temperature, mode, max_weight
        self.self_normalize, self.score, self.dropout = self_normalize, score, dropout
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    def step(self, models: Mapping[str, nn.Module], batch: Mapping[str, Any], state: State) -> Loss:
        """Both losses; the history gets each, and the mean weight of the negatives."""
        if not isinstance(models, Mapping) or not set(MODELS) <= set(models):
            raise InputError(f"model: expected models named {' and '.join(MODELS)}")
        positive, negative = (
            {name: self.score(models[name], batch, name, side) for name in MODELS}
            for side in ("positive", "negative")
        )
        logits = self._evaluated(models, batch) if self.dropout else negative
        losses = {}
        weights = {}
        for name, other in zip(MODELS, reversed(MODELS), strict=True):
            weights[name] = coupled_weights(
                logits[other].detach(),
                self.temperature,
                mode=self.mode,
                relevance_logit=logits[name].detach() if self.mode == "posterior" else None,
                max_weight=self.max_weight,
            )
            losses[name] = pairwise_ranking_loss(
                positive[name],
                negative[name],
                kind="logistic",
                weights=weights[name],
                self_normalize=self.self_normalize,
                reduction="none",
            )
        relevance, selection = (losses[name] for name in MODELS)
        return Loss.of(
            relevance + selection,
            relevance_loss=relevance,
            selection_loss=selection,
            weight=weights["relevance"],
        )

    @torch.no_grad()
    def _evaluated(
        self, models: Mapping[str, nn.Module], batch: Mapping[str, Any]
    ) -> dict[str, Tensor]:
        """Logits of the negatives in evaluation mode."""
        found = {}
        for name in MODELS:
            with _evaluation(models[name]):
                found[name] = self.score(models[name], batch, name, "negative")
        return found


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; each module returns to its own."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
