"""Score a data set: how hard each example is, by whatever measures it allows."""

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.workflows.score_classes import ClassSettings
from gradatim.workflows.score_inputs import ScoreColumns
from gradatim.workflows.score_job import ScoreJob
from gradatim.workflows.score_language import AttemptSettings
from gradatim.workflows.score_request import ScoreRequest
from gradatim.workflows.score_result import ScoreResult
from gradatim.workflows.score_sources import open_sources

if TYPE_CHECKING:
    from gradatim.language.loading import LanguageModel

_LOG = logging.getLogger(__name__)


def score(
    data: Any,
    *,
    measure: str | Sequence[str] = "auto",
    model: "str | Path | LanguageModel | None" = None,
    label: str | None = None,
    level: str | None = None,
    input: str | Sequence[str] | None = None,
    id: str | None = None,
    options: str | None = None,
    attempts: Any = None,
    responses: Any = None,
    games: Any = None,
    estimator: Any = None,
    encoder: str | Path | None = "minilm",
    folds: int = 5,
    samples: int = 8,
    longest: int = 256,
    temperature: float = 0.7,
    compare: bool = False,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    batch_tokens: int = 8192,
    block_rows: int | None = None,
    device: str | None = None,
    allow_download: bool = False,
    seed: int = 0,
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> ScoreResult:
    r"""Say how hard each example of a data set is.

    Text and language-model measures go through the data in blocks, so that these may be larger
    than memory; measures that train models of classes hold the table. The data are never
    changed: scores are a side table, keyed by an id. All measures are higher where an example is
    harder. With ``out`` a job that was killed goes on where it was when it is called again.

    Args:
        data: a table (pandas, datasets, pyarrow, a mapping, or the path of Parquet, JSON Lines or
            CSV), with conversations (``messages``), ``prompt`` and ``completion``, preference
            pairs (``chosen`` and ``rejected``), questions and answers, texts, or columns with a
            label; or a sampler's log, whose questions are then the examples.
        measure: "auto" for all that the data allow at a moderate cost, or some of
            :data:`~gradatim.workflows.score_measures.MEASURES`; ``difficulty`` is the first of
            them. With "auto" it is the level, the fail rate, a rating, the loss, or the words,
            the first that is there.
        model: a language model as :func:`~gradatim.language.loading.load_language_model` takes it,
            or one that is loaded.
        label: the column with the class, or with the answer.
        level: the column with a level of difficulty that people gave: numbers, text with one
            number, or easy, medium and hard.
        input: the columns with the question or text, or that classes are predicted from; None
            takes those with the usual names.
        id: the column with ids of your own; None makes ids of what each row holds.
        options: the column with the list of options, for multiple-choice questions.
        attempts: a table with a row an attempt (columns id and correct), or the log of a sampler
            (OpenAI's API, vLLM, lm-evaluation-harness), whose answers are verified. Questions are
            named by id, by row number from 0, or by their text.
        responses: a table with columns subject, item and correct.
        games: a table with two players and the first one's score a row.
        estimator: a scikit-learn classifier with ``predict_proba`` instead of the linear probe.
        encoder: for text that classes are predicted from: "minilm" (tf-idf where it is not
            installed), "tfidf", the directory of a sentence encoder, or None.
        folds: of the out-of-fold predictions.
        samples: attempts at each question, if the fail rate is asked for without ``attempts``.
        longest: tokens of such an attempt at most.
        temperature: of sampling.
        compare: whether to say how measures agree, and which foretells failures that none has seen:
            one attempt or response to each example, or labels by models of other folds.
        out: a file for the side table, or a folder for it with a report and a picture.
        overwrite: whether files that stand there may be replaced.
        batch_tokens: tokens that the model reads at once at most.
        block_rows: rows of a block, which are lost at most if the job is killed; None takes 8,192,
            512 if a model reads them, 64 if it answers them.
        device: where the model runs; None takes a GPU if there is one.
        allow_download: whether a model of the hub that is not on this machine may be downloaded.
        seed: what all draws depend on.
        tell: called with what is about to be computed and what it costs; None writes it to the log
            of this module.
        progress: called after each block with the rows that are done, all rows, and the seconds
            that the others will take.

    Returns:
        The result: side table, quantiles, examples from easy to hard, agreement, figure, report.

    Raises:
        InputError: an unknown measure or column, one that the data do not allow, a level that
            cannot be read, a response outside {0, 1}, a conversation without an assistant's turn,
            an empty completion, files in the way, an unfinished job that differs.
        MissingPackageError: the model, or what reads it, is not installed.
        StorageError: the output cannot be written.

    Warns:
        ExtremeItemWarning: examples that all attempts or responses solve, or none, named.
        DisconnectedWarning: responses or games that fall into parts.

    >>> data = {"question": ["1 + 1?", "What is 17 times 23?"], "answer": ["2", "391"]}
    >>> result = score(data, measure="words")
    >>> result.rows["words"].tolist(), result.measure
    ([3.0, 5.0], 'words')
    """
    check_range("batch_tokens", batch_tokens, 1)
    check_range("folds", folds, 2)
    for name, value in (("samples", samples), ("longest", longest)):
        check_range(name, value, 1)
    check_range("temperature", temperature, 0)
    if block_rows is not None:
        check_range("block_rows", block_rows, 1)
    inputs = (input,) if isinstance(input, str) else None if input is None else tuple(input)
    if inputs is not None and not inputs:
        raise InputError("input: expected at least one column, got none")
    columns = ScoreColumns(label, inputs, level, id, options)
    request = ScoreRequest(
        sources=open_sources(data, columns, attempts, responses, games),
        measure=measure,
        model=model,
        classes=ClassSettings(estimator, encoder, folds, seed),
        attempts=AttemptSettings(samples, longest, temperature, seed),
        compare=compare,
        out=out,
        overwrite=overwrite,
        batch_tokens=batch_tokens,
        block_rows=block_rows,
        device=device,
        allow_download=allow_download,
        seed=seed,
        tell=tell or _LOG.info,
        progress=progress or _no_progress,
    )
    return ScoreJob(request).run()


def _no_progress(done: int, total: int, left: float) -> None:
    """Say nothing."""
