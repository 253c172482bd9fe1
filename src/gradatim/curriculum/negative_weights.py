"""Weights of negatives, or of whole samples, in a contrastive loss, that move with progress."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from gradatim.core.checks import check_choice, check_range, check_same_shape, check_shape
from gradatim.core.errors import InputError
from gradatim.core.precision import at_least_float32
from gradatim.curriculum.pacing import step_pacing
from gradatim.curriculum.ramps import cosine_ramp, linear_ramp
from gradatim.difficulty.negative_hardness import negative_difficulty, sample_difficulty

Ramp = Callable[[float], float]
Rule = Callable[[Tensor, Tensor, float, Tensor | None], Tensor]
"""Similarities [B, N], those of the positives [B], the ramp's value in [0, 1] and a mask of the
negatives or None, to weights [B, N] or [B]."""

RULES = ("exponential", "curricular", "sample")
RAMPS: Mapping[str, Ramp] = {
    "linear": linear_ramp,
    "cosine": cosine_ramp,
    "step": lambda progress: step_pacing(progress, start=0.0),
}
"""Ramps from 0 to 1; "step" has four stairs."""


def exponential_negative_weights(
    similarity: Tensor, gamma: float, *, mask: Tensor | None = None
) -> Tensor:
    r"""Weigh hard negatives more, by a softmax of their similarities.

    .. math:: \beta_{ij} = n_i \frac{e^{\gamma s_{ij}}}{\sum_k e^{\gamma s_{ik}}}

    with :math:`n_i` negatives of anchor i, so that their mean weight is 1. In the softmax
    contrastive loss of temperature :math:`\tau` this is, up to a factor common to the negatives of
    an anchor, the temperature :math:`1 / (1 / \tau + \gamma)` for negatives alone: compare with a
    temperature that was tuned again.

    Args:
        similarity: s of each anchor with its negatives, shape [B, N]; no gradient flows through
            the weights.
        gamma: :math:`\gamma`, how much hard negatives are emphasised; 0 weighs all alike, below 0
            the easy ones weigh more.
        mask: which entries are negatives, booleans, shape [B, N]; None for all.

    Returns:
        Weights, shape [B, N], in float32 for half precision; 0 for what is no negative.

    Raises:
        InputError: shapes that do not fit, or a gamma that is not finite.

    Source: Robinson et al. 2021, arXiv 2010.04592 (without its debiasing).

    >>> exponential_negative_weights(torch.tensor([[0.6, 0.2]]), 5.0)
    tensor([[1.7616, 0.2384]])
    """
    check_range("gamma", gamma)
    check_shape("similarity", similarity, "B", "N")
    logits = gamma * at_least_float32(similarity.detach())
    if mask is None:
        return logits.softmax(1) * logits.shape[1]
    check_same_shape("mask", mask, "similarity", similarity)
    return _shares(logits, mask) * mask.sum(1, keepdim=True)


def curricular_negative_weights(
    similarity: Tensor,
    positive: Tensor,
    center: float,
    *,
    temperature: float,
    margin: float = 0.0,
) -> Tensor:
    r"""Weigh hard negatives less at first and more once positives are learned.

    A negative with :math:`s_{ij} > s_i^+ - m` has its similarity replaced by
    :math:`s_{ij} (c + s_{ij})`. As a weight in a softmax of temperature :math:`\tau`:

    .. math:: \beta_{ij} = e^{s_{ij} (c + s_{ij} - 1) / \tau} \text{ if hard, else } 1

    Where s is above 0 it is emphasised if :math:`c + s_{ij} > 1` and held back if that is below 1.

    Args:
        similarity: s of each anchor with its negatives, shape [B, N]; no gradient flows through
            the weights.
        positive: :math:`s^+` of each anchor with its positive, shape [B].
        center: c, a running mean of the positives' similarities.
        temperature: :math:`\tau` of the loss, above 0.
        margin: m, how far below the positive a negative is hard already.

    Returns:
        Weights, shape [B, N], in float32 for half precision.

    Raises:
        InputError: shapes that do not fit, or a temperature that is not above 0.

    Source: Huang et al. 2020, arXiv 2004.00288 (CurricularFace), there for
    classes.

    >>> similarity, positive = torch.tensor([[0.8, 0.2]]), torch.tensor([0.5])
    >>> curricular_negative_weights(similarity, positive, 0.2, temperature=1.0)
    tensor([[1., 1.]])
    >>> curricular_negative_weights(similarity, positive, 0.0, temperature=1.0)
    tensor([[0.8521, 1.0000]])
    """
    check_range("center", center)
    check_range("temperature", temperature, 0.0, open_low=True)
    check_range("margin", margin)
    values, own = at_least_float32(similarity.detach()), at_least_float32(positive.detach())
    hard = negative_difficulty(values, own) > -margin
    return torch.where(hard, values * (center + values - 1.0) / temperature, 0.0).exp()


def sample_window_weights(
    difficulty: Tensor, center: float, *, width: float, noise: float | None = None
) -> Tensor:
    r"""Weigh samples by how near their difficulty is to a centre that may move.

    .. math:: \omega_i \propto e^{-((h_i - \mu) / \sigma)^2}, \qquad \omega_i = 0 \text{ if }
        h_i > \text{noise}

    Args:
        difficulty: h of each sample, shape [B], for instance of
            :func:`gradatim.difficulty.negative_hardness.sample_difficulty`; minus infinity for a
            sample that has nothing to learn from and weighs nothing.
        center: :math:`\mu`.
        width: :math:`\sigma`, above 0.
        noise: difficulty above which a sample is taken for a wrong pair; None for no such bound.

    Returns:
        Weights, shape [B], in float32 for half precision; their mean is 1, or 0 where all samples
        are left out.

    Raises:
        InputError: another shape, a width that is not above 0, or numbers that are not finite.

    >>> sample_window_weights(torch.tensor([-1.0, 0.0, 0.5]), -1.0, width=1.0, noise=0.2)
    tensor([2.1932, 0.8068, 0.0000])
    """
    check_shape("difficulty", difficulty, "B")
    check_range("center", center)
    check_range("width", width, 0.0, open_low=True)
    values = at_least_float32(difficulty.detach())
    kept = values > -torch.inf
    if noise is not None:
        check_range("noise", noise)
        kept &= values <= noise
    logits = -((values - center) / width).square()
    return _shares(logits[None], kept[None])[0] * len(values)


class ProgressiveNegativeWeights:
    r"""Weights of negatives by difficulty that change over the course of training.

    With progress t, its ramp r(t) from 0 to 1, and the batch's similarities:

    - "exponential": :func:`exponential_negative_weights` with :math:`\gamma = \gamma_{max} r(t)`:
      all negatives alike at first, the hard ones emphasised later.
    - "curricular": :func:`curricular_negative_weights`; c is the moving average over calls of the
      batch's mean similarity of positives, from 0. Time enters through it, not through r(t).
    - "sample": :func:`sample_window_weights` of whole samples by their hardest negative;
      :math:`\mu` moves from the first to the second of ``centers`` with r(t).

    The paper's abstract says that attention to samples is modulated in the course of training; its
    formula was not to be had. These rules are gradatim's reading of that sentence, and a rule of
    your own can be given.

    Args:
        rule: a name, or ``rule(similarity, positive, r, mask) -> weights``.
        gamma_max: of "exponential".
        ramp: "linear", "cosine" or "step", or a function of t; ``lambda t: 1 - t`` turns the
            curriculum round.
        margin: of "curricular".
        temperature: of the loss, above 0; for "curricular".
        rate: of the moving average of "curricular", in (0, 1].
        centers: of "sample", at the start and at the end.
        width: of "sample", above 0.
        noise: of "sample"; None takes no sample for a wrong pair.
        cap: the largest weight, at least 1, which bounds what a false negative can do; the mean of
            capped weights is below 1. None for no bound.

    Raises:
        InputError: an unknown rule or ramp, or a setting outside its range.

    Source: after Wu et al. 2023, arXiv 2311.11691 (PEG).

    >>> weights = ProgressiveNegativeWeights(gamma_max=5.0)
    >>> similarity, positive = torch.tensor([[0.6, 0.2]]), torch.tensor([0.8])
    >>> weights(similarity, positive, 0.0), weights(similarity, positive, 1.0)
    (tensor([[1., 1.]]), tensor([[1.7616, 0.2384]]))
    """

    def __init__(
        self,
        rule: Literal["exponential", "curricular", "sample"] | Rule = "exponential",
        *,
        gamma_max: float = 5.0,
        ramp: Literal["linear", "cosine", "step"] | Ramp = "linear",
        margin: float = 0.0,
        temperature: float = 0.05,
        rate: float = 0.01,
        centers: tuple[float, float] = (-0.5, 0.0),
        width: float = 0.25,
        noise: float | None = None,
        cap: float | None = 100.0,
    ) -> None:
        if isinstance(rule, str):
            check_choice("rule", rule, RULES)
        if isinstance(ramp, str):
            check_choice("ramp", ramp, RAMPS)
        check_range("gamma_max", gamma_max)
        check_range("margin", margin)
        check_range("temperature", temperature, 0.0, open_low=True)
        check_range("rate", rate, 0.0, 1.0, open_low=True)
        for center in centers:
            check_range("centers", center)
        check_range("width", width, 0.0, open_low=True)
        if noise is not None:
            check_range("noise", noise)
        if cap is not None:
            check_range("cap", cap, 1.0)
        self.rule = rule
        self.ramp: Ramp = RAMPS[ramp] if isinstance(ramp, str) else ramp
        self.gamma_max, self.margin, self.temperature = gamma_max, margin, temperature
        self.rate, self.centers, self.width, self.noise = rate, centers, width, noise
        self.cap = cap
        self.center = 0.0

    def __call__(
        self, similarity: Tensor, positive: Tensor, progress: float, mask: Tensor | None = None
    ) -> Tensor:
        """Weights for one batch.

        Args:
            similarity: of each anchor with its negatives, shape [B, N].
            positive: of each anchor with its positive, shape [B].
            progress: t, the share of the updates that are done; below 0 counts as 0, above 1 as 1.
            mask: which entries are negatives, booleans, shape [B, N]; None for all.

        Returns:
            Weights without a gradient, shape [B, N], 0 for what is no negative; shape [B] for
            "sample".

        Raises:
            InputError: shapes that do not fit, progress that is not finite, or a rule of your own
                that returns another shape.
        """
        check_shape("positive", positive, "B")
        check_shape("similarity", similarity, len(positive), "N")
        if mask is not None:
            check_same_shape("mask", mask, "similarity", similarity)
        check_range("progress", progress)
        share = self.ramp(min(max(progress, 0.0), 1.0))
        weights = self._weights(similarity.detach(), positive.detach(), share, mask).detach()
        if weights.shape not in (similarity.shape, positive.shape):
            raise InputError(
                f"rule: expected weights of shape {list(similarity.shape)} or "
                f"{list(positive.shape)}, got {list(weights.shape)}"
            )
        if mask is not None and weights.ndim == 2:
            weights = weights.where(mask, 0.0)
        return weights if self.cap is None else weights.clamp(max=self.cap)

    def at(self, progress: float) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        """The rule at one progress, as the losses of ``objectives.contrastive`` take it.

        >>> from gradatim.objectives.contrastive import info_nce_from_similarity
        >>> rule, similarity = ProgressiveNegativeWeights(), torch.tensor([[0.6, 0.2]])
        >>> info_nce_from_similarity(
        ...     torch.tensor([0.8]), similarity, temperature=0.5, negative_weights=rule.at(1.0)
        ... )
        tensor(0.8121)
        """
        return lambda similarity, positive, mask: self(similarity, positive, progress, mask)

    def state_dict(self) -> dict[str, float]:
        """The moving average of "curricular", for a checkpoint."""
        return {"center": self.center}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave."""
        self.center = float(state["center"])

    def _weights(
        self, similarity: Tensor, positive: Tensor, share: float, mask: Tensor | None
    ) -> Tensor:
        if not isinstance(self.rule, str):
            return self.rule(similarity, positive, share, mask)
        if self.rule == "exponential":
            return exponential_negative_weights(similarity, self.gamma_max * share, mask=mask)
        if self.rule == "sample":
            difficulty = sample_difficulty(similarity, positive, mask=mask)
            center = self.centers[0] + (self.centers[1] - self.centers[0]) * share
            return sample_window_weights(difficulty, center, width=self.width, noise=self.noise)
        if len(positive):
            self.center += self.rate * (float(positive.float().mean()) - self.center)
        return curricular_negative_weights(
            similarity,
            positive,
            self.center,
            temperature=self.temperature,
            margin=self.margin,
        )


def _shares(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax of each row over what the mask keeps; 0 for the rest."""
    # a row of which nothing is kept would be 0/0: it is computed from zeros and then struck out
    kept = mask.any(1, keepdim=True)
    return logits.where(mask, -torch.inf).where(kept, 0.0).softmax(1).where(mask, 0.0)
