"""The synthetic task of the NPO paper: two populations, and logistic models of random features."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from gradatim.core.checks import check_range
from gradatim.core.seeds import torch_generator

DIMENSIONS = 16
FEATURES = 128
RIDGE = 1e-3


@dataclass(frozen=True)
class Sample:
    """Examples of one population.

    Attributes:
        features: rectified random features, shape [n, F], float64.
        sign: 1 for class 0, whose logit the model gives, and -1 for class 1, shape [n].
    """

    features: torch.Tensor
    sign: torch.Tensor

    def logp(self, weights: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the labels under models, from weights [F, K] to [n, K]."""
        return functional.logsigmoid(self.sign[:, None] * (self.features @ weights))


@dataclass(frozen=True)
class ForgettingTask:
    """One seed's task.

    Attributes:
        forget: what is to be forgotten.
        retain: what is to be kept.
        validation: held-out examples of what is to be kept, as a user has them.
        test_forget: further examples of the first population, for the divergence.
        test_retain: of the second.
        random: a class drawn by a fair coin for each example to forget, as signs: "do not know".
        start: weights fitted to all, shape [F].
        target: weights fitted to what is to be kept alone, shape [F].
    """

    forget: Sample
    retain: Sample
    validation: Sample
    test_forget: Sample
    test_retain: Sample
    random: torch.Tensor
    start: torch.Tensor
    target: torch.Tensor


def forgetting_task(
    seed: int, distance: float, *, retain: int = 1000, forget: int = 200, test: int = 1000
) -> ForgettingTask:
    r"""Draw both populations anew, and fit the models before and without.

    .. math:: x \sim N(\mp \alpha 1, I), \qquad
        \log \frac{p(y = c)}{p(y \ne c)} = \frac{(x - \mathrm{E} x) \cdot 1}{\sqrt d} + 1

    with minus and c = 0 for what is to be kept, plus and c = 1 for what is to be forgotten.

    Args:
        seed: what all depends on.
        distance: alpha: at 0 both populations have the same inputs and contradict each other.
        retain: how many examples to keep; half as many are held out for validation.
        forget: how many to forget.
        test: further examples of either.

    Source: Zhang et al. 2024, arXiv 2404.05868, section 4.1, and the authors' code (``synthetic``),
    which fits by 20,000 steps of gradient descent with step size 0.05. Some features are hardly
    ever active on what is to be kept, so that at the optimum their weights, and with them the
    target's predictions for what is to be forgotten, have no bound to speak of; a ridge penalty
    of 1 / (20,000 x 0.05) stands for stopping early.

    >>> task = forgetting_task(0, 1.0, retain=200, forget=40, test=10)
    >>> task.forget.features.shape, task.start.shape
    (torch.Size([40, 128]), torch.Size([128]))
    """
    check_range("distance", distance, 0)
    generator = torch_generator(seed, "random features", str(distance))
    projection = _normal(generator, FEATURES, DIMENSIONS) / DIMENSIONS**0.5

    def draw(number: int, label: int) -> Sample:
        centred = _normal(generator, number, DIMENSIONS)
        logit = centred.sum(dim=1) / DIMENSIONS**0.5 + 1
        preferred = torch.rand(number, generator=generator, dtype=torch.float64) < logit.sigmoid()
        sign = 1 - 2.0 * label
        x = centred - sign * distance
        return Sample((x @ projection.T).relu(), torch.where(preferred, sign, -sign).double())

    kept, forgotten = draw(retain, 0), draw(forget, 1)
    coin = torch.randint(2, (forget,), generator=generator)
    return ForgettingTask(
        forget=forgotten,
        retain=kept,
        validation=draw(retain // 2, 0),
        test_forget=draw(test, 1),
        test_retain=draw(test, 0),
        random=1 - 2 * coin.double(),
        start=_fitted(kept, forgotten),
        target=_fitted(kept),
    )


def _normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _fitted(*samples: Sample) -> torch.Tensor:
    r"""The weights of least mean cross-entropy and :math:`\frac{\lambda}{2} \Vert a \Vert^2`."""
    from sklearn.linear_model import LogisticRegression

    x = torch.cat([sample.features for sample in samples]).numpy()
    y = torch.cat([sample.sign for sample in samples]).numpy()
    model = LogisticRegression(
        C=1 / (RIDGE * len(x)),
        fit_intercept=False,
        solver="newton-cholesky",
        tol=1e-8,
        max_iter=200,
    )
    return torch.from_numpy(model.fit(x, y).coef_[0].copy())
