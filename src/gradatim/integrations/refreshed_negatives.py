"""Negatives mined anew while a model learns: in ``fit``, and in sentence-transformers' trainer."""

import functools
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradatim.core.cache import content_hash
from gradatim.core.checks import check_range, check_shape
from gradatim.core.errors import InputError
from gradatim.core.files import atomic_directory
from gradatim.core.lazy import require
from gradatim.core.search import top_k
from gradatim.core.search_tiles import Embeddings
from gradatim.core.seeds import numpy_generator, torch_generator
from gradatim.difficulty.rank_difficulty import negative_staleness
from gradatim.mining.negative_choice import NegativeRules, choose_negatives
from gradatim.mining.pair_scores import pair_scores
from gradatim.training.callbacks import Callback
from gradatim.training.serialization import load_state, save_state
from gradatim.training.step import State

FOLDER = "negatives"


class RefreshedNegatives(Callback):
    r"""Hard negatives by the present model, mined anew every N updates; a callback of ``fit``.

    .. math:: N_q^{(t)} = \text{the best of } C \setminus D_q^+ \text{ by }
        f_{\theta_t}(q) \cdot g_{\theta_t}(d), \qquad t = 0, N, 2 N, \dots

    A step reads ``negatives.index[state.index]``. What was mined stands in checkpoints, so that a
    resumed run goes on with the negatives it had.

    Args:
        positives: positions of each query's positives, filled up with -1, shape [Q, P].
        queries: gives the vectors of all queries by the present model, [Q, D].
        documents: gives the vectors of all documents, [N, D]; called once if documents stay.
        every: N.
        rules: what may be a negative, and how many a query has.
        refresh_documents: False where documents' vectors do not change: only queries are encoded
            anew, as in ADORE.
        metric: "cosine" or "dot".
        seed: what sampling depends on.

    Attributes:
        index: positions of the negatives, -1 where a query has fewer, shape [Q, n].
        mined_at: the update before which they were mined, -1 before the first.
        staleness: at each refresh after the first, the mean share of negatives that were replaced.

    Raises:
        InputError: shapes that do not fit, or ``every`` below 1.

    Source: Zhan et al. 2021, arXiv 2104.08051, section 5 (there at every update).

    >>> model = torch.nn.Linear(2, 2)
    >>> texts = torch.randn(6, 2)
    >>> negatives = RefreshedNegatives(
    ...     torch.arange(6)[:, None], lambda: model(texts), lambda: texts, every=10,
    ...     rules=NegativeRules(count=2), refresh_documents=False)
    >>> negatives.refresh(0)
    >>> negatives.index.shape
    torch.Size([6, 2])
    """

    def __init__(
        self,
        positives: Tensor,
        queries: Callable[[], Embeddings],
        documents: Callable[[], Embeddings],
        *,
        every: int,
        rules: NegativeRules | None = None,
        refresh_documents: bool = True,
        metric: str = "cosine",
        seed: int = 0,
    ) -> None:
        check_shape("positives", positives, "Q", "P")
        check_range("every", every, 1)
        self.positives, self.every = positives, every
        self.rules = NegativeRules(count=1) if rules is None else rules
        self._encode_queries, self._encode_documents = queries, documents
        self._refresh_documents, self._metric, self._seed = refresh_documents, metric, seed
        self._documents: Embeddings | None = None
        self.mined_at = -1
        self.index = torch.full((len(positives), self.rules.count), -1)
        self.staleness: list[float] = []

    def refresh(self, step: int) -> None:
        """Mine by the present model.

        Args:
            step: updates done.

        Raises:
            InputError: vectors of another number of queries, or that are not finite.
        """
        with torch.no_grad():
            queries = self._encode_queries()
            if self._documents is None or self._refresh_documents:
                self._documents = self._encode_documents()
            index = self._mine(queries, self._documents, step)
        if self.mined_at >= 0:
            self.staleness.append(float(negative_staleness(self.index, index).mean()))
        self.index, self.mined_at = index, step

    def due(self, step: int) -> bool:
        """Whether negatives are to be mined anew before the next update."""
        return self.mined_at < 0 or (step % self.every == 0 and step != self.mined_at)

    def fit_start(self, state: State) -> None:
        """Mine before the first update."""
        self.step_start(state)

    def step_start(self, state: State) -> None:
        """Mine where it is time."""
        if self.due(state.step):
            self.refresh(state.step)

    def state_dict(self) -> Mapping[str, Any]:
        """The negatives, and when they were mined."""
        return {"index": self.index, "step": self.mined_at, "staleness": list(self.staleness)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up negatives.

        Raises:
            InputError: they are of other queries.
        """
        if state["index"].shape != self.index.shape:
            raise InputError(
                f"negatives: expected a state of shape {list(self.index.shape)}, got "
                f"{list(state['index'].shape)}"
            )
        self.index, self.mined_at = state["index"].clone(), int(state["step"])
        self.staleness = [float(one) for one in state["staleness"]]

    def _mine(self, queries: Embeddings, documents: Embeddings, step: int) -> Tensor:
        if len(queries) != len(self.positives):
            raise InputError(
                f"queries: expected {len(self.positives)} vectors, one a query, got {len(queries)}"
            )
        rules, most = self.rules, self.positives.shape[1]
        k = min(rules.window_end(most) + most, len(documents))
        metric: Any = self._metric
        found = top_k(queries, documents, k, metric=metric)
        generator = torch_generator(self._seed, "negatives", step)
        index = found.index.cpu()
        positives = self.positives.cpu()
        right = pair_scores(queries, documents, positives, metric=self._metric)
        twins = documents if rules.duplicate_similarity is not None else None
        return choose_negatives(
            found.scores.cpu(), index, positives, right, rules, vectors=twins, generator=generator
        ).index


def attach_refreshed_negatives(
    trainer: Any,
    *,
    every: int,
    negatives: int = 1,
    corpus: Sequence[str] | None = None,
    rules: NegativeRules | None = None,
    refresh_documents: bool = True,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> RefreshedNegatives:
    """Give the rows of a sentence-transformers trainer negatives by the model as it is.

    One line between making the trainer and ``trainer.train()``. Rows have a query in their first
    column and a positive in their second; each gets the column ``negative`` (or ``negative_1``...),
    in place of one that is there. A positive of another row of the batch is never taken, since it
    is among the in-batch negatives already; a row without a valid negative gets a random document.
    Batches are put together one ahead, so a refresh counts from the next batch but one (after a
    resume from a checkpoint that was saved just after a refresh, from the next).

    Args:
        trainer: a ``SentenceTransformerTrainer`` with one data set.
        every: updates between two refreshes, each of which encodes all queries and documents.
        negatives: of a row.
        corpus: documents beside the positives; None for these alone.
        rules: what may be a negative; its ``count`` is how many are kept ready for a query, by
            default four a negative.
        refresh_documents: False to encode documents once (where the document side is frozen).
        query_prompt: what the model reads before each query; None for its own prompt.
        document_prompt: the same for documents.
        batch_size: texts encoded at a time.
        seed: of what is drawn.

    Returns:
        What is mined, with its ``staleness``.

    Raises:
        InputError: several data sets, columns that are no texts, workers that load data, or fewer
            documents than negatives.
        MissingPackageError: sentence-transformers is not installed.
    """
    transformers = require("transformers", extra="retrieval", why="to refresh negatives")
    check_range("negatives", negatives, 1)
    data = trainer.train_dataset
    if not hasattr(data, "column_names") or not isinstance(data.column_names, list):
        raise InputError("train_dataset: expected one datasets.Dataset of queries and positives")
    if len(data.column_names) < 2:
        raise InputError(
            f"train_dataset: expected two columns, query and positive, got {data.column_names}"
        )
    if trainer.args.dataloader_num_workers:
        raise InputError(
            "dataloader_num_workers: expected 0, since workers would not hear of new negatives, "
            f"got {trainer.args.dataloader_num_workers}"
        )
    rules = NegativeRules(count=4 * negatives) if rules is None else rules
    texts = _Texts(data, corpus)
    if len(texts.documents) <= negatives:
        raise InputError(
            f"corpus: expected more documents than {negatives} negatives, got "
            f"{len(texts.documents)}"
        )

    def encode(role: str, prompt: str | None, chosen: list[str]) -> np.ndarray:
        model = trainer.model
        training = model.training
        found: np.ndarray = getattr(model, f"encode_{role}")(
            chosen,
            prompt=prompt,
            batch_size=batch_size,
            normalize_embeddings=True,
            show_progress_bar=False,
        )
        model.train(training)
        return found

    mined = RefreshedNegatives(
        texts.positives,
        lambda: encode("query", query_prompt, texts.queries),
        lambda: encode("document", document_prompt, texts.documents),
        every=every,
        rules=rules,
        refresh_documents=refresh_documents,
        seed=seed,
    )
    collator = _NegativeCollator(trainer.data_collator, texts, mined, negatives, seed)
    trainer.data_collator = collator
    trainer.add_callback(_callback_class(transformers)(mined, content_hash(texts.queries)))
    return mined


class _Texts:
    """Different queries and documents of a data set, and which belong together."""

    def __init__(self, data: Any, corpus: Sequence[str] | None) -> None:
        self.names = tuple(data.column_names[:2])
        asked, right = (list(data[name]) for name in self.names)
        for name, column in zip(self.names, (asked, right), strict=True):
            wrong = next((row for row, one in enumerate(column) if not isinstance(one, str)), None)
            if wrong is not None:
                raise InputError(
                    f"train_dataset, row {wrong}, column {name!r}: expected a text, got "
                    f"{type(column[wrong]).__name__}"
                )
        self.queries = list(dict.fromkeys(asked))
        self.documents = list(dict.fromkeys([*right, *(corpus or ())]))
        self.query = {text: place for place, text in enumerate(self.queries)}
        self.document = {text: place for place, text in enumerate(self.documents)}
        own: list[dict[int, None]] = [{} for _ in self.queries]
        for query, positive in zip(asked, right, strict=True):
            own[self.query[query]][self.document[positive]] = None
        self.positives = torch.full((len(own), max(map(len, own))), -1)
        for row, places in enumerate(own):
            self.positives[row, : len(places)] = torch.tensor(list(places))


class _NegativeCollator:
    """Puts negatives into the rows of a batch before the trainer's own collator has them."""

    def __init__(
        self, collate: Any, texts: _Texts, mined: RefreshedNegatives, count: int, seed: int
    ) -> None:
        self.collate, self.texts, self.mined, self.count = collate, texts, mined, count
        self.seed = seed

    def __getattr__(self, name: str) -> Any:
        if name == "collate":  # not yet set, while a copy is made
            raise AttributeError(name)
        return getattr(self.collate, name)

    def __call__(self, features: list[dict[str, Any]]) -> Any:
        """Fill in negatives; batches of other data, to evaluate on, are left as they are."""
        query, positive = self.texts.names
        known = [feature.get(query) in self.texts.query for feature in features]
        if not all(known):
            return self.collate(features)
        taken = {self.texts.document.get(feature.get(positive)) for feature in features}
        rows = [self._filled(feature, query, taken) for feature in features]
        return self.collate(rows)

    def _filled(self, feature: dict[str, Any], query: str, taken: set[Any]) -> dict[str, Any]:
        row = self.texts.query[feature[query]]
        kept = {name: one for name, one in feature.items() if not _is_negative(name)}
        labels = {name: kept.pop(name) for name in ("label", "dataset_name") if name in kept}
        places = self._places(self.mined.index[row].tolist(), row, taken)
        names = (
            ["negative"] if self.count == 1 else [f"negative_{i + 1}" for i in range(len(places))]
        )
        texts = [self.texts.documents[place] for place in places]
        return kept | dict(zip(names, texts, strict=True)) | labels

    def _places(self, mined: Iterable[int], row: int, taken: set[Any]) -> list[int]:
        found = [place for place in mined if place >= 0 and place not in taken][: self.count]
        if len(found) < self.count:
            random = numpy_generator(self.seed, "negatives", self.mined.mined_at, row)
            forbidden = taken | set(self.texts.positives[row].tolist())
            while len(found) < self.count:
                found.append(self._random(random, forbidden | set(found)))
        return found

    def _random(self, random: np.random.Generator, forbidden: set[Any]) -> int:
        drawn = 0
        for _ in range(64):  # in a corpus that a batch holds nearly whole there may be no other
            drawn = int(random.integers(len(self.texts.documents)))
            if drawn not in forbidden:
                break
        return drawn


def _is_negative(name: str) -> bool:
    head, _, number = name.partition("_")
    return head == "negative" and (not number or number.isdecimal())


@functools.cache
def _callback_class(transformers: Any) -> Any:
    """A callback that mines before an update, and keeps what was mined beside checkpoints."""

    class NegativesCallback(transformers.TrainerCallback):  # type: ignore[misc]
        def __init__(self, mined: RefreshedNegatives, queries: str) -> None:
            self.mined, self.queries = mined, queries

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            step = int(state.global_step)
            folder = _folder(args, state) / FOLDER
            if step and folder.is_dir():
                kept = load_state(folder, FOLDER)
                if kept.pop("queries") != self.queries:
                    raise InputError(f"{folder}: expected negatives of the same queries")
                self.mined.load_state_dict(kept)
                return
            if step:
                warnings.warn(
                    f"{folder} is not there: negatives are mined anew, so the run is not exactly "
                    "the one that was interrupted",
                    stacklevel=2,
                )
            self.mined.refresh(step)

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if self.mined.due(int(state.global_step)):
                self.mined.refresh(int(state.global_step))

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if args.should_save:
                with atomic_directory(_folder(args, state) / FOLDER) as folder:
                    kept = {"queries": self.queries, **self.mined.state_dict()}
                    save_state(kept, folder, FOLDER)

    return NegativesCallback


def _folder(args: Any, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"
