"""When unlearning has done enough, or too much: the weights that are kept."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from gradatim.core.checks import check_range
from gradatim.language.causal_lm import CausalLM
from gradatim.language.response_examples import ResponseExamples
from gradatim.recipes.forget_retain import response_lengths, response_log_probabilities
from gradatim.training.callbacks import Callback
from gradatim.training.step import State

FORGOTTEN = "forgotten"
COLLAPSE = "collapse"
NON_FINITE = "non-finite"


class CollapseGuard(Callback):
    r"""Ends unlearning when enough is forgotten or too much is lost, and keeps the good weights.

    After every evaluation with :math:`\ell` the mean loss a token of what is to be kept and p the
    mean probability of what is to be forgotten,

    .. math:: e^{\ell - \ell_0} > c \Rightarrow \text{collapse}, \qquad
        p \le p^* \Rightarrow \text{forgotten}

    where c is the growth of perplexity that is borne. On collapse, and when an update would not
    be finite, training ends with the weights of the last evaluation that was in order (for an
    update that is not finite: those before it). What is kept is a copy of the trained weights in
    memory, and in every checkpoint.

    Args:
        initial: ``forget_probability`` and, if it is watched, ``retain_loss`` before training.
        perplexity_growth: c, above 1; None never calls anything a collapse.
        forget_target: p*, between 0 and 1; None does not end training.
        check_gradients: look at every gradient before it is used. Not for float16, whose loss
            scale makes gradients overflow in the course of things.

    Attributes:
        reason: why training was ended: "forgotten", "collapse" or "non-finite"; "" if it was not.
        step: the update after which the weights are as they were left.
        curve: the results of all evaluations, with ``step``, the first before training.

    Raises:
        InputError: a number outside its range.

    >>> guard = CollapseGuard({"forget_probability": 0.9, "retain_loss": 1.0})
    >>> guard.verdict({"forget_probability": 0.5, "retain_loss": 1.5})
    ''
    >>> guard.verdict({"forget_probability": 0.5, "retain_loss": 1.7})
    'collapse'
    """

    def __init__(
        self,
        initial: Mapping[str, float],
        *,
        perplexity_growth: float | None = 2.0,
        forget_target: float | None = None,
        check_gradients: bool = True,
    ) -> None:
        if perplexity_growth is not None:
            check_range("perplexity_growth", perplexity_growth, 1, open_low=True)
        if forget_target is not None:
            check_range("forget_target", forget_target, 0, 1)
        self.perplexity_growth, self.forget_target = perplexity_growth, forget_target
        self.check_gradients = check_gradients
        self.initial = dict(initial)
        self.reason, self.step = "", 0
        self.curve: list[dict[str, float]] = [{"step": 0, **initial}]
        self.weights: dict[str, torch.Tensor] = {}

    def verdict(self, metrics: Mapping[str, float]) -> str:
        """What an evaluation says: "collapse", "forgotten", or "" to go on."""
        watched = [metrics[name] for name in ("forget_loss", "retain_loss") if name in metrics]
        if not all(math.isfinite(value) for value in watched):
            return COLLAPSE
        if self.perplexity_growth is not None and "retain_loss" in self.initial:
            rise = metrics["retain_loss"] - self.initial["retain_loss"]
            if rise > math.log(self.perplexity_growth):
                return COLLAPSE
        target = self.forget_target
        return FORGOTTEN if target is not None and metrics["forget_probability"] <= target else ""

    def fit_start(self, state: State) -> None:
        """Keep the weights that training begins with."""
        if not self.weights:
            self._keep(state)

    def gradients_ready(self, state: State) -> None:
        """Make no update of gradients that are not finite, and end."""
        if not self.check_gradients:
            return
        gradients = [weight.grad for weight in _trained(state).values() if weight.grad is not None]
        if not gradients or torch.stack(torch._foreach_norm(gradients)).isfinite().all():
            return
        for weight in _trained(state).values():
            weight.grad = None
        self.reason, self.step, state.stop = NON_FINITE, state.step, True
        self._keep(state)

    def evaluated(self, state: State) -> None:
        """Judge, and keep the weights or put the kept ones back."""
        self.curve.append({"step": state.step, **state.metrics})
        found = self.verdict(state.metrics)
        if self.reason == NON_FINITE:
            return
        self.reason = found
        if found == COLLAPSE:
            self._restore(state)
        else:
            self._keep(state)
            self.step = state.step
        state.stop = state.stop or bool(found)

    def _keep(self, state: State) -> None:
        self.weights = {
            name: weight.detach().to("cpu", copy=True) for name, weight in _trained(state).items()
        }

    @torch.no_grad()
    def _restore(self, state: State) -> None:
        for name, weight in _trained(state).items():
            weight.copy_(self.weights[name])

    def state_dict(self) -> Mapping[str, Any]:
        """The weights kept, the curve, and why training was ended."""
        return {
            "reason": self.reason,
            "step": self.step,
            "curve": self.curve,
            "weights": self.weights,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state."""
        self.reason, self.step = str(state["reason"]), int(state["step"])
        self.curve, self.weights = list(state["curve"]), dict(state["weights"])


class Watch:
    """Losses of what is to be forgotten and kept, on a fixed part of either.

    Args:
        forget: responses to forget.
        retain: responses to keep; None watches none.
        rows: how many of either are read at most, evenly spread.
        dtype: precision that is read in.

    Raises:
        InputError: ``rows`` below 1.
    """

    def __init__(
        self,
        forget: ResponseExamples,
        retain: ResponseExamples | None = None,
        *,
        rows: int = 64,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        check_range("rows", rows, 1)
        self.parts = {"forget": forget} | ({} if retain is None else {"retain": retain})
        self.rows, self.dtype = rows, dtype

    def figures(self, model: CausalLM) -> dict[str, float]:
        """``forget_loss``, ``forget_probability`` and, if it is watched, ``retain_loss``."""
        found = {}
        for name, examples in self.parts.items():
            count = min(self.rows, len(examples))
            rows = [place * len(examples) // count for place in range(count)]
            lengths = response_lengths(examples, rows)
            logp = response_log_probabilities(model, examples, rows, dtype=self.dtype)
            found[f"{name}_loss"] = float(-logp.sum() / lengths.sum())
            if name == "forget":
                found["forget_probability"] = float((logp / lengths).exp().mean())
        return found


def _trained(state: State) -> dict[str, torch.nn.Parameter]:
    """The parameters that are trained, of all models."""
    return {
        f"{model}/{name}": weight
        for model in state.models
        for name, weight in state.unwrap(model).named_parameters()
        if weight.requires_grad
    }
