"""Joint estimation of item response models: abilities and items at their most probable values."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from gradatim.difficulty.fixed_point import accelerated
from gradatim.difficulty.item_response_curves import (
    FIXED,
    HIGHEST,
    LOWEST,
    MODELS,
    log_curves,
    log_gradients,
)
from gradatim.difficulty.item_response_priors import ItemPriors
from gradatim.difficulty.response_table import ResponseTable

_CHUNK = 1 << 18


@dataclass(frozen=True)
class JointFit:
    """What joint estimation found.

    Attributes:
        parameters: b, log a, logit c and logit d of each item, shape [I, 4].
        deviations: of the free parameters with abilities taken as known, shape [I, p].
        ability: of each subject, shape [S].
        ability_std: with items taken as known, shape [S].
        steps: how many steps were taken.
        converged: whether parameters came to rest.
    """

    parameters: torch.Tensor
    deviations: torch.Tensor
    ability: torch.Tensor
    ability_std: torch.Tensor
    steps: int
    converged: bool


class JointModel:
    """The joint density of responses, abilities and items as a function of the latter two.

    Args:
        table: the responses.
        free: columns of the parameters that are fitted.
        priors: of these; ability is standard normal.
    """

    def __init__(self, table: ResponseTable, free: tuple[int, ...], priors: ItemPriors) -> None:
        self.table, self.free = table, free
        self.mean, self.precision = priors.columns(free)

    def chunks(
        self, parameters: torch.Tensor, ability: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Subjects, items, outcomes, and the items' parameters and subjects' abilities."""
        for start in range(0, len(self.table), _CHUNK):
            part = slice(start, start + _CHUNK)
            who = torch.from_numpy(self.table.subjects[part]).long()
            what = torch.from_numpy(self.table.items[part]).long()
            correct = torch.from_numpy(self.table.correct[part])
            yield who, what, correct, parameters[what], ability[who]

    def objective(self, parameters: torch.Tensor, ability: torch.Tensor) -> float:
        """Log-density, up to a constant."""
        total = -0.5 * float(ability.square().sum())
        apart = parameters[:, list(self.free)] - self.mean
        total -= 0.5 * float((apart.square() * self.precision).sum())
        for _, _, correct, item, theta in self.chunks(parameters, ability):
            total += float(torch.where(correct, *log_curves(item, theta)).sum())
        return total

    def subject_terms(
        self, parameters: torch.Tensor, ability: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradient and expected information of each subject's ability, shape [S]."""
        score, information = -ability, torch.ones_like(ability)
        for who, _, correct, item, theta in self.chunks(parameters, ability):
            right, wrong = (one[:, 0] for one in log_gradients(item, theta, (0,)))
            score = score.index_add(0, who, -torch.where(correct, right, wrong))
            information = information.index_add(0, who, -right * wrong)
        return score, information

    def item_terms(
        self, parameters: torch.Tensor, ability: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradient of each item's free parameters, [I, p], and expected information, [I, p, p]."""
        score = -(parameters[:, list(self.free)] - self.mean) * self.precision
        information = torch.diag(self.precision).repeat(len(parameters), 1, 1)
        for _, what, correct, item, theta in self.chunks(parameters, ability):
            right, wrong = log_gradients(item, theta, self.free)
            score = score.index_add(0, what, torch.where(correct[:, None], right, wrong))
            information.index_add_(0, what, -right[:, :, None] * wrong[:, None, :])
        return score, information


def fit_joint(
    table: ResponseTable,
    model: str,
    priors: ItemPriors,
    *,
    tol: float = 1e-3,
    max_iter: int = 500,
) -> JointFit:
    r"""Abilities and items that maximize their joint posterior density.

    .. math:: \max_{\theta, u} \; \sum_{s, j} \log P(r_{sj} \mid \theta_s, u_j)
        - \tfrac12 \lVert \theta \rVert^2 + \sum_j \log p(u_j)

    Scoring steps of all abilities and of all items take turns, with extrapolations. The estimate
    does not become exact with more subjects alone, since each brings an ability of its own
    (Neyman and Scott); with few items a discrimination may run to its bound, as the order of
    abilities then follows one item. Marginal estimation does neither.

    Args:
        table: the responses.
        model: "1pl", "1pl-guessing", "2pl", "3pl" or "4pl".
        priors: of item parameters.
        tol: largest change of a parameter by a step that counts as none.
        max_iter: steps at most.

    Returns:
        The fit, on the scale of the priors.

    Source: Swaminathan and Gifford 1986, Psychometrika 51.

    >>> fit = fit_joint(ResponseTable.of([[1, 1, 0], [1, 0, 0], [1, 1, 1]]), "1pl", ItemPriors())
    >>> (fit.parameters[:, 0].diff() > 0).tolist()
    [True, True]
    """
    joint, columns = JointModel(table, MODELS[model], priors), list(MODELS[model])
    subjects, items = table.n_subjects, table.n_items
    fixed = torch.tensor(FIXED, dtype=torch.float64).repeat(items, 1)
    fixed[:, columns] = joint.mean
    bounds = torch.tensor([LOWEST, HIGHEST], dtype=torch.float64)[:, columns]

    def unpack(vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        parameters = fixed.clone()
        chosen = vector[subjects:].view(items, len(columns))
        parameters[:, columns] = chosen.clamp(bounds[0], bounds[1])
        return parameters, vector[:subjects].clamp(-8, 8)

    def step(vector: torch.Tensor) -> tuple[torch.Tensor, float]:
        parameters, ability = unpack(vector)
        objective = joint.objective(parameters, ability)
        score, information = joint.subject_terms(parameters, ability)
        ability = ability + (score / information).clamp(-1, 1)
        score, information = joint.item_terms(parameters, ability)
        move = torch.linalg.solve(information, score).clamp(-1, 1)
        return torch.cat([ability, (parameters[:, columns] + move).flatten()]), objective

    start = torch.cat([torch.zeros(subjects, dtype=torch.float64), fixed[:, columns].flatten()])
    end = accelerated(step, start, tol=tol, max_iter=max_iter)
    parameters, ability = unpack(end.value)
    known = joint.subject_terms(parameters, ability)[1]
    inverse = torch.linalg.inv(joint.item_terms(parameters, ability)[1])
    deviations = inverse.diagonal(dim1=1, dim2=2).sqrt()
    return JointFit(parameters, deviations, ability, known.rsqrt(), end.steps, end.converged)
