"""Whether a language model has forgotten, and what it still knows: figures of unlearning."""

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from gradatim.core.checks import check_choice, check_finite, check_same_length
from gradatim.core.errors import InputError

Tokens = Sequence[Hashable]


def truth_ratio(paraphrase_nll: ArrayLike, perturbed_nll: ArrayLike) -> NDArray[np.float64]:
    r"""How much likelier a model finds a right answer in other words than wrong answers.

    .. math:: R_i = \exp \left( \frac{1}{P} \sum_p \ell_{ip} - \ell_i \right)

    The losses are means over an answer's tokens, so that R is a ratio of geometric means. Above 1
    the model prefers the truth. TOFU's paper defines the inverse; this is how its code and later
    work compute it.

    Args:
        paraphrase_nll: mean loss a token of the paraphrased right answer, shape [N].
        perturbed_nll: of wrong answers of the same form, shape [N, P].

    Returns:
        R, shape [N].

    Raises:
        InputError: other shapes, no wrong answer, or a value that is not finite.

    Source: Maini et al. 2024, arXiv 2401.06121, equation 1; the code of Zhang et al. 2024,
    arXiv 2404.05868.

    >>> truth_ratio([1.0, 2.0], [[1.0, 1.0], [1.0, 3.0]]).tolist()
    [1.0, 1.0]
    """
    right = np.asarray(paraphrase_nll, dtype=np.float64)
    wrong = np.asarray(perturbed_nll, dtype=np.float64)
    if right.ndim != 1 or wrong.ndim != 2 or len(wrong) != len(right) or not wrong.shape[1]:
        raise InputError(
            "perturbed_nll: expected shapes [N] and [N, P] with P at least 1, "
            f"got {list(right.shape)} and {list(wrong.shape)}"
        )
    check_finite("paraphrase_nll", right)
    check_finite("perturbed_nll", wrong)
    with np.errstate(over="ignore"):
        return np.asarray(np.exp(wrong.mean(axis=1) - right))


def mean_truth_ratio(ratios: ArrayLike, kind: str = "retained") -> float:
    r"""The truth ratios of one set of questions as one figure between 0 and 1.

    .. math:: \frac{1}{N} \sum_i \max(0, 1 - 1 / R_i), \qquad
        \frac{1}{N} \sum_i \min(R_i, 1 / R_i)

    Args:
        ratios: R of :func:`truth_ratio`, at least 0, shape [N].
        kind: "retained" for the first form, which is high where the truth is preferred, or
            "forgotten" for the second, which is high where right and wrong look alike.

    Returns:
        The figure.

    Raises:
        InputError: no ratios, one below 0, or an unknown kind.

    Source: Maini et al. 2024, arXiv 2401.06121, section 2.2, and its code.

    >>> mean_truth_ratio([2.0, 0.5]), mean_truth_ratio([2.0, 0.5], "forgotten")
    (0.25, 0.5)
    """
    check_choice("kind", kind, ("retained", "forgotten"))
    values = _ratios("ratios", ratios)
    with np.errstate(over="ignore", divide="ignore"):
        inverse = 1 / values
    if kind == "forgotten":
        return float(np.minimum(values, inverse).mean())
    return float(np.maximum(0, 1 - inverse).mean())


def forget_quality(unlearned: ArrayLike, retained: ArrayLike) -> float:
    """Whether truth ratios of the forgotten set could be those of a model that never saw it.

    The p-value of a two-sided Kolmogorov-Smirnov test of two samples: 1 for equal samples, near
    0 where the model gives itself away, by knowing too much or by having been damaged. Its size
    depends on the number of questions, so compare it for equal numbers only.

    Args:
        unlearned: truth ratios of the model that has forgotten, shape [N].
        retained: those of a model that was trained on what remains alone, shape [M].

    Returns:
        The p-value.

    Raises:
        InputError: an empty sample, or a ratio below 0.

    Source: Maini et al. 2024, arXiv 2401.06121, section 2.2.

    >>> forget_quality([0.5, 1.0, 2.0], [0.5, 1.0, 2.0])
    1.0
    """
    first, second = _ratios("unlearned", unlearned), _ratios("retained", retained)
    return float(stats.ks_2samp(first, second).pvalue)


def model_utility(figures: Mapping[str, float]) -> float:
    r"""The harmonic mean of all that a model should still be able to do.

    .. math:: U = K / \sum_k (1 / u_k)

    One figure of 0 makes it 0. TOFU takes nine: probability of the answer, ROUGE-L recall and
    truth ratio, each on the retained set, real authors and world facts.

    Args:
        figures: u_k by name, at least 0, all with 1 for the best.

    Returns:
        U.

    Raises:
        InputError: no figures, or one that is negative or not finite.

    Source: Maini et al. 2024, arXiv 2401.06121, section 2.2.

    >>> model_utility({"probability": 0.5, "rouge": 1.0})
    0.6666666666666666
    """
    if not figures:
        raise InputError("figures: expected at least one, got none")
    values = np.array([float(value) for value in figures.values()])
    for name, value in zip(figures, values, strict=True):
        if not (np.isfinite(value) and value >= 0):
            raise InputError(f"{name}: expected a finite number of at least 0, got {value}")
    if not values.all():
        return 0.0
    smallest = values.min()
    return float(smallest * len(values) / (smallest / values).sum())


@dataclass(frozen=True, slots=True)
class Extraction:
    """How much of each text a model reproduces from the text's beginning.

    Attributes:
        positions: share of tokens that are right at their own place, shape [N].
        prefix: share of tokens before the first that is wrong, shape [N].
        subsequence: share of tokens found in the same order (ROUGE-L recall), shape [N].
        exact: whether all tokens are right, shape [N].
    """

    positions: NDArray[np.float64]
    prefix: NDArray[np.float64]
    subsequence: NDArray[np.float64]
    exact: NDArray[np.bool_]

    def means(self) -> dict[str, float]:
        """The mean of each figure."""
        return {name: float(getattr(self, name).mean()) for name in self.__slots__}


def extraction(generated: Sequence[Tokens], expected: Sequence[Tokens]) -> Extraction:
    """Compare greedy continuations of prefixes with how the texts really go on.

    Tokens of a continuation beyond the length of the text are not looked at, but by
    ``subsequence``, for which give continuations of the text's length.

    Args:
        generated: tokens of each continuation.
        expected: tokens of each text behind the prefix, at least one.

    Returns:
        The shares.

    Raises:
        InputError: unequal numbers, none at all, or a text without tokens.

    Source: positions: Tirumala et al. 2022, arXiv 2205.10770 (exact memorization, here of free
    continuations); exact: Carlini et al. 2023, arXiv 2202.07646.

    >>> extraction(["the cat".split()], ["the dog sat down".split()]).means()
    {'positions': 0.25, 'prefix': 0.25, 'subsequence': 0.25, 'exact': 0.0}
    """
    if not check_same_length(generated=generated, expected=expected):
        raise InputError("expected: expected at least one text, got none")
    matches = []
    for row, (one, other) in enumerate(zip(generated, expected, strict=True)):
        if not len(other):
            raise InputError(f"expected: expected at least one token, got none in row {row}")
        matches.append([i < len(one) and bool(one[i] == token) for i, token in enumerate(other)])
    prefix = [np.logical_and.accumulate(match).mean() for match in matches]
    common = [rouge_l_recall(one, other) for one, other in zip(generated, expected, strict=True)]
    return Extraction(
        positions=np.array([np.mean(match) for match in matches]),
        prefix=np.array(prefix),
        subsequence=np.array(common),
        exact=np.array([all(match) for match in matches]),
    )


def rouge_l_recall(generated: Tokens | str, expected: Tokens | str) -> float:
    r"""ROUGE-L recall: the longest common subsequence, as a share of the expected text.

    .. math:: \mathrm{LCS}(g, e) / |e|

    Args:
        generated: what a model says: tokens, or text, whose words in lower case are compared
            (runs of a to z and digits, as in the original; without stemming).
        expected: what it should say, in the same form.

    Returns:
        The share; 0 where nothing is expected.

    Raises:
        InputError: text compared with tokens.

    Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries".

    >>> rouge_l_recall("The cat sat.", "the cat lay down")
    0.5
    """
    if isinstance(generated, str) != isinstance(expected, str):
        raise InputError("expected: expected the form of generated, text or tokens")
    first, second = (
        _WORD.findall(one.lower()) if isinstance(one, str) else list(one)
        for one in (generated, expected)
    )
    return _common_subsequence(first, second) / len(second) if second else 0.0


_WORD = re.compile(r"[a-z0-9]+")


def _common_subsequence(first: Tokens, second: Tokens) -> int:
    """Length of the longest common subsequence, a row of the table at once in one integer's bits.

    Bit i of the row is 0 where the table grows from column i to i + 1 (Hyyro 2004).
    """
    everything = (1 << len(first)) - 1
    places: dict[Hashable, int] = {}
    for place, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << place
    row = everything
    for token in second:
        found = row & places.get(token, 0)
        row = (row + found | row - found) & everything
    return len(first) - row.bit_count()


def _ratios(name: str, ratios: ArrayLike) -> NDArray[np.float64]:
    """Truth ratios as an array; infinite ones, of losses far apart, are let through."""
    values = np.asarray(ratios, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise InputError(f"{name}: expected at least one ratio, got shape {list(values.shape)}")
    if not (values >= 0).all():
        raise InputError(f"{name}: expected ratios of at least 0, got {values.min()}")
    return values
