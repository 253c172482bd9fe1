"""The heads of a language model that a profile trains: exemplars in context, and LoRA."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.seeds import derive_seed, numpy_generator
from gradatim.workflows.profile_features import Features
from gradatim.workflows.profile_heads import HeadSettings
from gradatim.workflows.profile_inputs import ProfileTable
from gradatim.workflows.profile_learners import Rows

if TYPE_CHECKING:
    from gradatim.language.causal_lm import CausalLM
    from gradatim.language.loading import LanguageModel

LABEL_TEMPLATE = "Text: {}\nLabel:"
"""How a text with a class is shown; a question with options is shown as in the paper."""

LARGE = 1_000_000_000
"""Weights from which on a model is tuned at the paper's learning rate."""

RATE, SMALL_RATE = 1e-4, 1e-3
"""The paper's learning rate, and that of small models, which it hardly moves in a few updates."""


class LanguageHead(ABC):
    """A language model that chooses among the options of a row, or among the names of classes.

    Scores are divided by a temperature, which changes no choice: log-likelihoods of options are
    much surer than they are right. What was predicted from the same training rows, labels and seed
    is kept and not computed anew.

    Args:
        table: the rows.
        model: the language model.
        seed: what draws depend on.

    Attributes:
        temperature: the one that fits the table's own rows without any training.
        zero_shot: probabilities without any training, shape [N, C].
        name: what is trained.

    Raises:
        InputError: no text, an option or class without text, or a row that is too long for the
            model's context.
    """

    name: str

    def __init__(self, table: ProfileTable, model: "LanguageModel", seed: int) -> None:
        from gradatim.evaluators.temperature import fit_temperature
        from gradatim.language.questions import QUESTION

        self._lm, self._seed = model, seed
        self._texts = table.texts() or []
        self._width = int(table.choices.max())
        if table.options is not None:
            self._options, self._template = table.options, QUESTION
        else:
            names = tuple(str(one).replace("_", " ") for one in table.classes)
            self._options, self._template = (names,) * len(table), LABEL_TEMPLATE
        self._known: dict[str, dict[int, NDArray[np.float64]]] = {}
        self._short = set[int]()
        scores = self._ask(np.arange(len(table)), [])
        own = table.trained
        self.temperature = fit_temperature(scores[:own], table.labels[:own])
        self.zero_shot = self._probabilities(scores, self.temperature)

    @property
    def notes(self) -> tuple[str, ...]:
        """How many rows had no room for all exemplars so far."""
        if not self._short:
            return ()
        return (
            f"{len(self._short):,} rows were asked with fewer exemplars than the others, for lack "
            "of room in the model's context",
        )

    def __call__(self, rows: Rows, labels: Rows, queries: Rows) -> NDArray[np.float64]:
        """Train on rows with labels; returns probabilities of the queries, shape [Q, C]."""
        known = self._known.setdefault(self._key(rows, labels), {})
        fresh = np.array([one for one in np.unique(queries) if int(one) not in known], np.int64)
        if len(fresh):
            found = self._predict(rows, labels, fresh)
            known.update(zip(fresh.tolist(), found, strict=True))
        empty = np.empty((0, self._width))
        return np.stack([known[int(one)] for one in queries]) if len(queries) else empty

    @abstractmethod
    def _key(self, rows: Rows, labels: Rows) -> str:
        """What the predictions depend on, as text."""

    @abstractmethod
    def _predict(self, rows: Rows, labels: Rows, queries: Rows) -> NDArray[np.float64]:
        """Probabilities of the queries, shape [Q, C]."""

    def _ask(self, queries: Rows, exemplars: list[tuple[str, str]]) -> NDArray[np.float64]:
        """Log-likelihoods of the options of the queries behind exemplars, shape [Q, A]."""
        from gradatim.evaluators.in_context import in_context_scores

        scores = in_context_scores(
            self._lm.model,
            self._lm.tokenizer,
            [self._texts[one] for one in queries],
            [self._options[one] for one in queries],
            exemplars,
            template=self._template,
            overflow="drop",
        )
        self._short.update(queries[scores.dropped > 0].tolist())
        return scores.values

    def _probabilities(
        self, scores: NDArray[np.float64], temperature: float
    ) -> NDArray[np.float64]:
        """Softmax over options, with a column for every option that any row has, shape [Q, C]."""
        from scipy import special

        p = special.softmax(scores / temperature, axis=1)
        return np.pad(p, ((0, 0), (0, self._width - p.shape[1])))


class InContextHead(LanguageHead):
    """Shows a few training rows with their labels before every question; nothing is trained.

    Which rows are shown depends on the seed and the training rows, not on their labels.

    Args:
        table: the rows.
        model: the language model.
        shots: how many rows are shown, all if there are fewer.
        seed: what the draws depend on.

    Raises:
        InputError: as :class:`LanguageHead`.

    Source: Hase et al. 2024, arXiv 2401.06751.
    """

    def __init__(self, table: ProfileTable, model: "LanguageModel", shots: int, seed: int) -> None:
        self._shots = shots
        super().__init__(table, model, seed)
        self.name = f"{shots} exemplars in context" if shots else "zero-shot choice"

    def _shown(self, rows: Rows) -> Rows:
        """Places among the training rows of those that are shown."""
        from gradatim.evaluators.in_context import draw_exemplars

        return draw_exemplars(np.arange(len(rows)), self._shots, self._seed, _text(rows))

    def _key(self, rows: Rows, labels: Rows) -> str:
        shown = self._shown(rows)
        return f"{_text(rows[shown])}/{_text(labels[shown])}"

    def _predict(self, rows: Rows, labels: Rows, queries: Rows) -> NDArray[np.float64]:
        shown = self._shown(rows)
        if not len(shown):
            return self.zero_shot[queries]
        pairs = zip(rows[shown], labels[shown], strict=True)
        exemplars = [(self._texts[one], self._options[one][label]) for one, label in pairs]
        return self._probabilities(self._ask(queries, exemplars), self.temperature)


class LoraHead(LanguageHead):
    """Trains low-rank adapters on the training rows, anew for every fit.

    Args:
        table: the rows.
        model: the language model; it is the same again after every fit.
        most_trained: rows that are trained on at most, drawn with the seed.
        seed: what draws, adapters and the order of rows depend on.
        adapters: what :func:`~gradatim.language.adapters.lora` is told, such as the rank; None
            takes what the paper has.
        tuning: what :func:`~gradatim.recipes.option_tuning.tune_on_options` is told besides, such
            as the learning rate; by default what the paper has.

    Raises:
        InputError: as :class:`LanguageHead`.

    Source: Hase et al. 2024, arXiv 2401.06751.
    """

    name = "LoRA"

    def __init__(
        self,
        table: ProfileTable,
        model: "LanguageModel",
        most_trained: int,
        seed: int,
        *,
        adapters: Mapping[str, Any] | None = None,
        **tuning: Any,
    ) -> None:
        from gradatim.language.questions import encode_questions

        super().__init__(table, model, seed)
        self._most, self._adapters, self._tuning = most_trained, dict(adapters or {}), tuning
        self._encoded = encode_questions(
            model.tokenizer,
            self._texts,
            self._options,
            template=self._template,
            context_length=model.model.context_length,
        )

    def _key(self, rows: Rows, labels: Rows) -> str:
        return f"{_text(rows)}/{_text(labels)}"

    def _predict(self, rows: Rows, labels: Rows, queries: Rows) -> NDArray[np.float64]:
        from gradatim.evaluators.temperature import fit_temperature
        from gradatim.language.adapters import lora
        from gradatim.language.option_likelihood import option_log_likelihoods
        from gradatim.recipes.option_tuning import tune_on_options

        random = numpy_generator(self._seed, "rows to tune on", _text(rows))
        some = np.sort(random.permutation(len(rows))[: self._most])
        seed = derive_seed(self._seed, "tuning", _text(rows)) % 2**31
        prompts, options = self._encoded.prompts, self._encoded.options

        def of(these: Rows) -> tuple[list[list[int]], list[list[list[int]]]]:
            return [prompts[one] for one in these], [options[one] for one in these]

        def scores(model: "CausalLM", these: Rows) -> NDArray[np.float64]:
            return option_log_likelihoods(model, *of(these)).double().numpy()

        with lora(self._lm.model, seed=seed, **self._adapters) as tuned:
            tune_on_options(tuned, *of(rows[some]), labels[some], seed=seed, **self._tuning)
            # On rows that it was trained on a model is right too often to be made surer.
            temperature = fit_temperature(scores(tuned, rows[some]), labels[some], low=1.0)
            return self._probabilities(scores(tuned, queries), temperature)


def make_language_head(
    table: ProfileTable, model: "LanguageModel", settings: HeadSettings, seed: int
) -> tuple[Features, LanguageHead]:
    """A head, and its zero-shot choice as what is known without training.

    Raises:
        InputError: as :class:`LanguageHead`.
    """
    head: LanguageHead
    if settings.name == "lora":
        weights = sum(weight.numel() for weight in model.model.parameters())
        rate = RATE if weights >= LARGE else SMALL_RATE
        head = LoraHead(table, model, settings.most_trained, seed, lr=rate)
    else:
        head = InContextHead(table, model, settings.shots, seed)
    left_out = [name for name, kind in table.kinds.items() if kind != "text"]
    told = ", ".join(repr(name) for name in left_out[:5])
    more = f" and {len(left_out) - 5} more" if len(left_out) > 5 else ""
    notes = (f"the language model reads text only: {told}{more} are left out",) if left_out else ()
    guess = head.zero_shot.argmax(axis=1).astype(np.int64)
    names = (f"text, read by {model.name}",)
    what = "class name" if table.options is None else "option"
    baseline = f"the likeliest {what} by the language model itself (zero-shot)"
    return Features(None, guess, baseline, names, notes), head


def _text(rows: Any) -> str:
    return ",".join(map(str, rows.tolist()))
