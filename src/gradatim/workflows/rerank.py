"""Choose among sampled candidates, and say what that is worth at each level of difficulty."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.io.columns import missing_column
from gradatim.core.io.table_sources import open_source
from gradatim.evaluators.answers import AnswerVerifier
from gradatim.evaluators.rerank_curves import rerank_curve
from gradatim.evaluators.voting import RULES, UNPARSABLE, chosen_positions
from gradatim.workflows.candidate_logs import log_format, read_candidates
from gradatim.workflows.candidate_pools import (
    CandidateColumns,
    CandidatePool,
    column_names,
    load_pool,
    unparsable_rows,
)
from gradatim.workflows.rerank_result import RerankCounts, RerankResult
from gradatim.workflows.rerank_tables import accuracy_table, curve_table, pass_at_k_table

if TYPE_CHECKING:
    import pandas as pd

SCORE_KINDS = ("weight", "logit", "logprob")


@dataclass(frozen=True)
class Arm:
    """A rule with the scores that it uses.

    Attributes:
        name: "majority", "weighted" or "best_of_n"; with several score columns "weighted:column".
        rule: the rule.
        scores: shape [P, N], None for the majority.
    """

    name: str
    rule: str
    scores: NDArray[np.float64] | None


def rerank(
    source: Any,
    *,
    problem: str = "problem",
    answer: str = "answer",
    score: str | Sequence[str] | None = "score",
    level: str | None = None,
    correct: str | None = None,
    reference: str | None = None,
    rules: Sequence[str] = RULES,
    score_kind: str | None = None,
    ks: Sequence[int] | None = None,
    n_subsets: int = 50,
    seed: int = 0,
    extract: bool = False,
    last_number: bool = False,
    equality: str = "math",
    timeout: float = 5.0,
) -> RerankResult:
    r"""Choose one of the answers that were sampled for each problem, by voting and by scores.

    With correctness known (``correct`` or ``reference``) the result also holds accuracies per level
    with 95% intervals and paired differences to the majority, pass@k, and curves over the number of
    candidates; without it, the chosen answers.

    Args:
        source: a table with one row a candidate (pandas, datasets, pyarrow, a mapping, or the path
            of Parquet, CSV or JSON Lines), or the JSON Lines log of a sampler, as in
            :func:`~gradatim.workflows.candidate_logs.read_candidates`.
        problem: the column that names the problem.
        answer: the column with the final answer; missing or blank where it could not be read.
        score: the column with scores, higher = better, or several; None for majority only. If the
            default "score" is not there, only the majority is used, and ``notes`` says so.
        level: the column with the problem's level of difficulty.
        correct: the column that says whether the candidate is right.
        reference: the column with the right answer; the verifier compares.
        rules: which of "majority", "weighted" and "best_of_n".
        score_kind: what the weighted vote adds up: "weight", the scores themselves (at least 0);
            "logit", :math:`1/(1 + e^{-r})`; "logprob", the scores' softmax within the problem. By
            default "logprob" for the scores of a log, else "weight".
        ks: the numbers of candidates for pass@k and the curves; by default powers of two up to
            what nine of ten problems have.
        n_subsets: random subsets for each point of a vote's curve.
        seed: what the subsets depend on.
        extract: whether ``answer`` holds whole responses whose final answer is to be found.
        last_number: whether a response's last number is its answer if it names none.
        equality: "math" (1/2 equals 0.5) or "exact" (equal texts).
        timeout: seconds after which a comparison of two answers counts as unequal.

    Returns:
        The result: tables, counts, notes, figure, report.

    Raises:
        InputError: a column is missing or holds what it should not (the row is named), both
            ``correct`` and ``reference``, or a negative score for a weighted vote.
        MissingPackageError: an answer that is no plain number or word, without math-verify.

    Source: Sun et al. 2024, arXiv 2403.09472, section 3.

    >>> table = {
    ...     "problem": [1, 1, 1, 2, 2, 2],
    ...     "answer": ["1/2", "0.5", "3", "7", "8", "8"],
    ...     "score": [0.2, 0.3, 0.1, 0.9, 0.1, 0.2],
    ... }
    >>> rerank(table).choices[["problem", "majority", "weighted", "best_of_n"]].values.tolist()
    [[1, '1/2', '1/2', '0.5'], [2, '8', '7', '7']]
    """
    _check_arguments(rules, score_kind, correct, reference, ks)
    form = log_format(source)
    table, failed, path = source, 0, open_source(source).name
    if form is not None:
        table = read_candidates(source, last_number=last_number)
        failed, extract = table.attrs["failed"], False
        if reference is None and correct is None and "reference" in table:
            reference = "reference"
    names = column_names(table)
    scores, notes = _score_columns(score, names, path)
    columns = CandidateColumns(problem, answer, scores, level, correct, reference)
    for name in (problem, answer, *scores, level, correct, reference):
        if name is not None and name not in names:
            raise missing_column(path, name, names)
    with AnswerVerifier(equality=equality, timeout=timeout) as verifier:
        pool = load_pool(table, columns, verifier, extract=extract, last_number=last_number)
        undecided = verifier.undecided
    kind = score_kind or ("logprob" if form is not None and score == "score" else "weight")
    arms = list(_arms(pool, rules, kind))
    counts = _counts(pool, failed, undecided)
    sizes = _sizes(ks, pool.sizes)
    chosen = {arm.name: chosen_positions(pool.codes, arm.scores, rule=arm.rule) for arm in arms}
    known = pool.correct is not None
    return RerankResult(
        choices=_choices(pool, chosen),
        accuracy=accuracy_table(pool, chosen) if known else None,
        pass_at_k=pass_at_k_table(pool, sizes) if known else None,
        curve=curve_table(pool, sizes, _curves(pool, arms, sizes, n_subsets, seed))
        if known
        else None,
        counts=counts,
        notes=(*notes, *_notes(pool, counts, kind, arms)),
        unparsable=unparsable_rows(pool),
        source=path,
        is_file=isinstance(source, str | os.PathLike),
    )


def _check_arguments(
    rules: Sequence[str],
    score_kind: str | None,
    correct: str | None,
    reference: str | None,
    ks: Sequence[int] | None,
) -> None:
    if isinstance(rules, str) or not rules:
        raise InputError(f"rules: expected some of {', '.join(RULES)}, got {rules!r}")
    for rule in rules:
        check_choice("rules", rule, RULES)
    if score_kind is not None:
        check_choice("score_kind", score_kind, SCORE_KINDS)
    if correct is not None and reference is not None:
        raise InputError("correct and reference: expected one of them, got both")
    for k in ks or ():
        check_range("ks", k, 1)


def _score_columns(
    score: str | Sequence[str] | None, names: Sequence[str], source: str
) -> tuple[tuple[str, ...], list[str]]:
    if score is None:
        return (), ["no score column was asked for: only the majority is used"]
    if score == "score" and "score" not in names:
        return (), [f"{source} has no column 'score': only the majority is used"]
    return ((score,) if isinstance(score, str) else tuple(dict.fromkeys(score))), []


def _arms(pool: CandidatePool, rules: Sequence[str], kind: str) -> Iterator[Arm]:
    if "majority" in rules or not pool.scores:
        yield Arm("majority", "majority", None)
    for column, scores in pool.scores.items():
        suffix = f":{column}" if len(pool.scores) > 1 else ""
        if "weighted" in rules:
            weights = _weights(pool, column, scores, kind)
            yield Arm(f"weighted{suffix}", "weighted", weights)
        if "best_of_n" in rules:
            yield Arm(f"best_of_n{suffix}", "best_of_n", scores)


def _weights(
    pool: CandidatePool, column: str, scores: NDArray[np.float64], kind: str
) -> NDArray[np.float64]:
    """What a weighted vote adds up."""
    there = pool.rows >= 0
    if kind == "logit":
        return np.where(there, np.exp(-np.logaddexp(0.0, -scores)), 0.0)
    if kind == "logprob":
        shifted = np.where(there, scores, -np.inf)
        weights = np.exp(shifted - shifted.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))
    if (scores < 0).any():
        row = int(pool.rows[scores < 0].min())
        value = scores[pool.rows == row][0]
        raise InputError(
            f"{pool.source}, row {row}, column {column!r}: expected scores of at least 0 for the "
            f"weighted vote, got {value:g}; say what they are with score_kind='logprob' or 'logit' "
            "(--score-kind), or leave 'weighted' out of the rules"
        )
    return scores


def _sizes(ks: Sequence[int] | None, sizes: NDArray[np.int64]) -> tuple[int, ...]:
    if ks is not None:
        return tuple(sorted({int(k) for k in ks}))
    largest = int(np.quantile(sizes, 0.1, method="lower"))
    return tuple(sorted({largest, *(2**power for power in range(largest.bit_length()))}))


def _curves(
    pool: CandidatePool, arms: Sequence[Arm], ns: Sequence[int], n_subsets: int, seed: int
) -> dict[str, NDArray[np.float64]]:
    """Each rule's accuracy for each problem and number of candidates, and the oracle's."""
    assert pool.correct is not None
    found = {}
    for arm in (*arms, Arm("oracle", "oracle", None)):
        curve = rerank_curve(
            pool.codes, arm.scores, pool.correct, ns, n_subsets, seed, rule=arm.rule
        )
        found[arm.name] = curve.accuracy
    return found


def _choices(pool: CandidatePool, chosen: dict[str, NDArray[np.intp]]) -> "pd.DataFrame":
    """One row a problem: the answer of each rule, the row it stands in, and whether it is right."""
    import pandas as pd

    parts: dict[str, Any] = {"problem": pool.problems}
    if pool.levels is not None:
        parts["level"] = pool.levels
    parts["candidates"] = pool.sizes
    everyone = np.arange(len(pool.problems))
    for name, position in chosen.items():
        rows = np.where(position >= 0, pool.rows[everyone, position], -1)
        parts[name] = [pool.answers[row] if row >= 0 else None for row in rows]
        parts[f"{name}_row"] = rows
        if pool.correct is not None:
            parts[f"{name}_correct"] = pool.correct[everyone, position] & (position >= 0)
    if pool.correct is not None:
        parts["oracle_correct"] = (pool.correct & (pool.codes >= 0)).any(axis=1)
    return pd.DataFrame(parts)


def _counts(pool: CandidatePool, failed: int, undecided: int) -> RerankCounts:
    sizes = pool.sizes
    unparsable = pool.codes == UNPARSABLE
    no_correct = mixed = None
    if pool.correct is not None:
        no_correct = int((~(pool.correct & (pool.codes >= 0)).any(axis=1)).sum())
        mixed = _mixed(pool)
    return RerankCounts(
        problems=len(sizes),
        candidates=int(sizes.sum()),
        fewest_candidates=int(sizes.min()),
        most_candidates=int(sizes.max()),
        one_candidate=int((sizes == 1).sum()),
        unparsable=int(unparsable.sum()),
        no_parsable=int((unparsable.sum(axis=1) == sizes).sum()),
        no_correct=no_correct,
        judged_both_ways=mixed,
        undecided=undecided,
        failed_requests=failed,
    )


def _mixed(pool: CandidatePool) -> int:
    """How many answers are right in one row and wrong in another of the same problem."""
    assert pool.correct is not None
    problem, place = np.nonzero(pool.codes >= 0)
    answers = problem * (int(pool.codes.max()) + 1) + pool.codes[problem, place]
    pairs = np.unique(answers * 2 + pool.correct[problem, place])
    return int((np.diff(pairs // 2) == 0).sum())


def _notes(
    pool: CandidatePool,
    counts: RerankCounts,
    kind: str,
    arms: Sequence[Arm],
) -> Iterator[str]:
    if pool.correct is None:
        yield "neither correctness nor reference answers are known: there are no accuracies"
    if any(arm.rule == "weighted" for arm in arms) and kind != "weight":
        told = {"logit": "1/(1 + exp(-score))", "logprob": "the softmax of the scores of a problem"}
        yield f"the weighted vote adds up {told[kind]}"
    if counts.fewest_candidates < counts.most_candidates:
        yield (
            "problems have unequally many candidates: a point of a curve at N leaves out the "
            "problems that have fewer"
        )
    if counts.judged_both_ways:
        yield (
            f"{counts.judged_both_ways} answers are right in one row and wrong in another of the "
            "same problem; the first row of an answer counts"
        )
    if counts.unparsable:
        yield f"{counts.unparsable} candidates have no answer that could be read; they never win"
