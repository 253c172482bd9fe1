"""Item response theory: how hard items are and how able subjects, from who solved what."""

import math
import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from gradatim.core.checks import check_choice, check_finite, check_range
from gradatim.core.errors import InputError
from gradatim.difficulty.comparison_graph import components, warn_disconnected, warn_extreme
from gradatim.difficulty.item_response_curves import MODELS, ability_information, log_curves
from gradatim.difficulty.item_response_joint import fit_joint
from gradatim.difficulty.item_response_marginal import (
    MarginalModel,
    Population,
    fit_marginal,
)
from gradatim.difficulty.item_response_priors import ItemPriors, priors_of
from gradatim.difficulty.item_response_quadrature import Quadrature, enough_nodes, quadrature
from gradatim.difficulty.item_response_uncertainty import item_deviations, observed_information
from gradatim.difficulty.item_response_variational import HIERARCHICAL, fit_variational
from gradatim.difficulty.response_table import ResponseTable

_CHUNK = 1 << 18


class ItemResponseModel(BaseEstimator):  # type: ignore[misc]
    r"""Difficulty of items and ability of subjects from right and wrong responses.

    .. math:: P(r_{sj} = 1) = c_j + (d_j - c_j) \, \sigma\bigl(a_j (\theta_s - b_j)\bigr)

    "1pl" fits difficulty b; "2pl" also discrimination a; "3pl" also guessing c; "4pl" also
    feasibility d, the share that even the ablest solve; "1pl-guessing" fits b and c. What is not
    fitted is a = 1, c = 0, d = 1.

    The scale has its origin at the mean ability. Its unit is the standard deviation of ability,
    but in the models without discrimination, where it is that of a logit. By "mml" these are
    moments of the population, which is normal; by the other methods those of the subjects'
    estimates. Priors hold before the scale is set so, where discrimination is about 1. Guessing
    stays below 2/3, feasibility above 3/4, difficulty within 10 on the scale of the priors.

    Time and memory are linear in the responses, of which there may be a hundred million by "mml".

    Args:
        model: "1pl", "1pl-guessing", "2pl", "3pl" or "4pl".
        method: "mml" integrates ability out (EM), "map" takes the most probable abilities and
            items, "vi" is the mean-field variational approximation of py-irt.
        priors: "default", "vague", "none" (maximum likelihood; "mml" only), "hierarchical" ("vi"
            only), or :class:`~.item_response_priors.ItemPriors`.
        nodes: of the quadrature; None takes as many as a subject's responses call for.
        rule: "equal" or "gauss-hermite".
        tol: largest change of a parameter by a step that counts as none ("mml", "map").
        max_iter: steps at most ("mml", "map").
        epochs: steps of "vi".
        learning_rate: of "vi".
        random_state: seed of "vi".

    Attributes:
        difficulty_: b, shape [I].
        difficulty_std_: its standard deviation, shape [I]; by "mml" from the observed information.
        discrimination_: a, shape [I].
        discrimination_std_: its standard deviation, shape [I]; 0 where a is not fitted.
        guessing_: c, shape [I].
        feasibility_: d, shape [I].
        ability_: posterior mean of theta, shape [S].
        ability_std_: its posterior standard deviation, items taken as known, shape [S].
        population_std_: deviation of theta in the population.
        extreme_items_: positions of items that all or none solved, or nobody answered.
        n_iter_: steps taken.
        converged_: whether "mml" or "map" came to rest; True for "vi".

    Source: Ding et al. 2024, arXiv 2409.18433 (difficulty labels); Bock and Aitkin 1981 ("mml");
    Lalor and Rodriguez 2023 ("vi").

    >>> responses = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1], [0, 1, 0, 0]]
    >>> model = ItemResponseModel("1pl").fit(responses)
    >>> model.difficulty_.argsort().tolist()
    [0, 1, 2, 3]
    >>> bool(model.predict_proba([2], [0])[0] > 0.5)
    True
    """

    def __init__(
        self,
        model: str = "2pl",
        method: str = "mml",
        *,
        priors: ItemPriors | str | None = "default",
        nodes: int | None = None,
        rule: str = "equal",
        tol: float = 1e-3,
        max_iter: int = 500,
        epochs: int = 2000,
        learning_rate: float = 0.1,
        random_state: int = 0,
    ) -> None:
        self.model = model
        self.method = method
        self.priors = priors
        self.nodes = nodes
        self.rule = rule
        self.tol = tol
        self.max_iter = max_iter
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.random_state = random_state

    def fit(
        self,
        responses: Any,
        y: None = None,
        *,
        n_subjects: int | None = None,
        n_items: int | None = None,
        item_names: Sequence[Any] | None = None,
    ) -> Self:
        """Estimate items and abilities.

        Args:
            responses: a matrix of 0 and 1 with NaN for what is missing, shape [S, I]; or a tuple
                (subjects, items, correct) of positions from 0 and outcomes, each of shape [N].
            y: not used.
            n_subjects: S, for a tuple; by default the largest position and one.
            n_items: I, likewise.
            item_names: what warnings call the items, shape [I]; by default their positions.

        Returns:
            Itself.

        Raises:
            InputError: a response other than 0 and 1, a bad position, or a setting that does not
                exist or does not go with the method.

        Warns:
            ExtremeItemWarning: items that all or none solved, named.
            DisconnectedWarning: responses that fall into parts without common subject or item.
            ConvergenceWarning: ``max_iter`` steps were not enough.
        """
        self._check()
        table = ResponseTable.of(responses, n_subjects=n_subjects, n_items=n_items)
        names = range(table.n_items) if item_names is None else item_names
        if len(names) != table.n_items:
            raise InputError(f"item_names: expected {table.n_items} names, got {len(names)}")
        self.extreme_items_ = warn_extreme(*table.item_counts(), names)
        self._warn_disconnected(table, names)
        {"mml": self._fit_marginal, "map": self._fit_joint, "vi": self._fit_variational}[
            self.method
        ](table)
        if not self.converged_:
            warnings.warn(
                f"ItemResponseModel: parameters still moved by more than {self.tol} after "
                f"{self.n_iter_} steps; raise max_iter",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def predict_proba(self, subjects: ArrayLike, items: ArrayLike) -> NDArray[np.float64]:
        """Probability that each subject solves each item, averaged over what ability may be.

        Args:
            subjects: positions, shape [N].
            items: positions, shape [N].

        Returns:
            Probabilities, shape [N].

        Raises:
            InputError: a position that was not fitted, or unequal lengths.
        """
        check_is_fitted(self)
        asked = ResponseTable.of(
            (subjects, items, np.zeros(np.shape(items), bool)),
            n_subjects=len(self.ability_),
            n_items=len(self.difficulty_),
        )
        found = [
            self._log_predictive(asked.rows(slice(start, start + _CHUNK)))[0].exp()
            for start in range(0, len(asked), _CHUNK)
        ]
        return np.asarray(torch.cat(found).numpy())

    def score(self, responses: Any, y: None = None) -> float:
        """Mean log-likelihood of further responses of the same subjects to the same items.

        Args:
            responses: as for :meth:`fit`.
            y: not used.

        Returns:
            The mean of log P over responses, ability averaged over what it may be.
        """
        check_is_fitted(self)
        table = ResponseTable.of(
            responses, n_subjects=len(self.ability_), n_items=len(self.difficulty_)
        )
        total = 0.0
        for start in range(0, len(table), _CHUNK):
            part = table.rows(slice(start, start + _CHUNK))
            log_right, log_wrong = self._log_predictive(part)
            total += float(torch.where(torch.from_numpy(part.correct), log_right, log_wrong).sum())
        return total / len(table)

    def abilities(self, responses: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Ability of further subjects, from their responses to the fitted items.

        Args:
            responses: as for :meth:`fit`, with further subjects; items are the fitted ones.

        Returns:
            Posterior mean and standard deviation, shape [S] each.

        Raises:
            InputError: an item that was not fitted, or a matrix of another width.
        """
        check_is_fitted(self)
        table = ResponseTable.of(responses, n_items=len(self.difficulty_))
        if table.n_items != len(self.difficulty_):
            raise InputError(
                f"responses: expected {len(self.difficulty_)} items, got {table.n_items}"
            )
        model = MarginalModel(table, MODELS[self.model], None, self._rule(table))
        found = model.abilities(self._parameters, Population(0.0, self.population_std_))
        return np.asarray(found[0].numpy()), np.asarray(found[1].numpy())

    def curves(self, theta: ArrayLike) -> NDArray[np.float64]:
        """Probability that subjects of given ability solve each item, shape [T, I].

        Args:
            theta: abilities, shape [T].
        """
        right = log_curves(self._parameters, self._column(theta))[0].exp()
        return np.asarray(right.numpy())

    def information(self, theta: ArrayLike) -> NDArray[np.float64]:
        r"""Fisher information of each item about ability, shape [T, I].

        .. math:: I_j(\theta) = P_j'(\theta)^2 / \bigl(P_j (1 - P_j)\bigr)

        Args:
            theta: abilities, shape [T].
        """
        found = ability_information(self._parameters, self._column(theta))
        return np.asarray(found.numpy())

    def _check(self) -> None:
        check_choice("model", self.model, tuple(MODELS))
        check_choice("method", self.method, ("mml", "map", "vi"))
        check_range("tol", self.tol, 0, open_low=True)
        check_range("max_iter", self.max_iter, 2)
        if self.priors == HIERARCHICAL:
            if self.method != "vi":
                raise InputError(
                    f"priors: 'hierarchical' goes with method 'vi', got method {self.method!r}"
                )
        elif priors_of(self.priors, self.model) is None and self.method != "mml":
            raise InputError(
                f"priors: method {self.method!r} needs priors, got {self.priors!r}; "
                "without them perfect scores have no estimate"
            )

    def _warn_disconnected(self, table: ResponseTable, names: Sequence[Any]) -> None:
        items = table.items + np.int32(table.n_subjects)
        part = components(table.subjects, items, table.n_subjects + table.n_items)
        if not part.any():
            return
        seen = np.concatenate([table.subject_counts()[0] > 0, table.item_counts()[0] > 0])
        told = [f"subject {one}" for one in range(table.n_subjects)]
        told += [f"item {name}" for name in names]
        warn_disconnected(
            np.unique(part[seen], return_inverse=True)[1],
            [told[one] for one in np.flatnonzero(seen)],
            "the responses",
            "their difficulties are comparable only if subjects of all parts are equally able",
            stacklevel=4,
        )

    def _rule(self, table: ResponseTable, information: float = 0.15) -> Quadrature:
        answered = float(np.quantile(table.subject_counts()[0], 0.9))
        wanted = enough_nodes(answered, information) if self.nodes is None else self.nodes
        return quadrature(wanted, self.rule)

    def _fit_marginal(self, table: ResponseTable) -> None:
        rule, fit = self._rule(table), None
        while fit is None or len(rule.nodes) > 1.25 * len(fit.marginal.rule.nodes):
            fit = fit_marginal(
                table,
                self.model,
                priors_of(self.priors, self.model),
                rule,
                tol=self.tol,
                max_iter=self.max_iter,
                start=fit,
            )
            middle = torch.tensor(fit.population.mean, dtype=torch.float64)
            information = float(ability_information(fit.parameters, middle).mean())
            rule = self._rule(table, information * fit.population.spread**2)
        ability, ability_std = fit.marginal.abilities(fit.parameters, fit.population)
        free = MODELS[self.model]
        deviations = item_deviations(observed_information(fit), fit.parameters, free)
        self.n_iter_, self.converged_ = fit.steps, fit.converged
        unit = fit.population.spread if 1 in free else 1.0
        self.population_std_ = fit.population.spread / unit
        self._rescale((fit.parameters, deviations, ability, ability_std), fit.population.mean, unit)

    def _fit_joint(self, table: ResponseTable) -> None:
        priors = priors_of(self.priors, self.model)
        assert priors is not None
        fit = fit_joint(table, self.model, priors, tol=self.tol, max_iter=self.max_iter)
        self.n_iter_, self.converged_ = fit.steps, fit.converged
        self._standardize(fit.parameters, fit.deviations, fit.ability, fit.ability_std)

    def _fit_variational(self, table: ResponseTable) -> None:
        given = self.priors if isinstance(self.priors, str) else None
        priors = priors_of(None if given == HIERARCHICAL else self.priors, self.model)
        fit = fit_variational(
            table,
            self.model,
            HIERARCHICAL if priors is None else priors,
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            seed=self.random_state,
        )
        self.n_iter_, self.converged_ = self.epochs, True
        self._standardize(fit.parameters, fit.deviations, fit.ability, fit.ability_std)

    def _standardize(self, *found: torch.Tensor) -> None:
        """Take the scale on which the subjects' abilities have mean 0 and, if free, deviation 1."""
        ability, unit = found[2], 1.0
        spread = float(ability.std()) if len(ability) > 1 else 1.0
        if 1 in MODELS[self.model]:
            unit = max(spread, 1e-6)
        self.population_std_ = spread / unit
        self._rescale(found, float(ability.mean()), unit)

    def _rescale(self, found: tuple[torch.Tensor, ...], centre: float, unit: float) -> None:
        """Keep what was found, on a scale moved by ``centre`` and divided by ``unit``."""
        parameters, deviations, ability, ability_std = (one.clone() for one in found)
        parameters[:, 0] = (parameters[:, 0] - centre) / unit
        parameters[:, 1] += math.log(unit)
        log_a_std = (
            deviations[:, 1] if 1 in MODELS[self.model] else torch.zeros_like(deviations[:, 0])
        )
        self._parameters = parameters
        self.difficulty_ = parameters[:, 0].numpy().copy()
        self.difficulty_std_ = (deviations[:, 0] / unit).numpy()
        self.discrimination_ = parameters[:, 1].exp().numpy()
        self.discrimination_std_ = (parameters[:, 1].exp() * log_a_std).numpy()
        self.guessing_ = parameters[:, 2].sigmoid().numpy()
        self.feasibility_ = parameters[:, 3].sigmoid().numpy()
        self.ability_ = ((ability - centre) / unit).numpy()
        self.ability_std_ = (ability_std / unit).numpy()

    def _column(self, theta: ArrayLike) -> torch.Tensor:
        check_is_fitted(self)
        values = np.atleast_1d(np.asarray(theta, dtype=np.float64))
        check_finite("theta", values)
        return torch.from_numpy(values)[:, None]

    def _log_predictive(self, asked: ResponseTable) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities of right and wrong, averaged over a normal posterior of ability."""
        rule = quadrature(9, "gauss-hermite")
        ability = torch.from_numpy(self.ability_[asked.subjects])[:, None]
        spread = torch.from_numpy(self.ability_std_[asked.subjects])[:, None]
        items = self._parameters[torch.from_numpy(asked.items).long()][:, None]
        right, wrong = log_curves(items, ability + spread * rule.nodes)
        return (
            (right + rule.log_weights).logsumexp(1),
            (wrong + rule.log_weights).logsumexp(1),
        )
