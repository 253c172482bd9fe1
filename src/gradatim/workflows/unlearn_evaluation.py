"""What a model still says of what it was to forget, and of what it was to keep."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.language.causal_lm import CausalLM
from gradatim.metrics.forgetting import (
    Extraction,
    extraction,
    mean_truth_ratio,
    model_utility,
    rouge_l_recall,
    truth_ratio,
)
from gradatim.recipes.forget_retain import response_lengths, response_log_probabilities
from gradatim.workflows.unlearn_encoding import EncodedTexts, TextEncoder, evenly_spread
from gradatim.workflows.unlearn_inputs import UnlearnTexts
from gradatim.workflows.unlearn_models import greedy

FORGET, RETAIN, UNRELATED = "forget", "retain", "unrelated"

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Figures of one model.

    Attributes:
        figures: by set and name, as ``forget/probability``; and ``utility``.
        rows: a row a text that was looked at.
        ratios: truth ratios of what is to be forgotten; probabilities where there are none.
    """

    figures: dict[str, float]
    rows: list[dict[str, Any]] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Evaluator:
    """Measures a model on a part of each set of texts.

    Attributes:
        encoder: what turns texts into tokens.
        sets: texts by name: "forget", and "retain" and further ones that are to be kept, if any.
        unrelated: text whose perplexity is watched.
        evaluated: texts of a set that are looked at, at most, evenly spread.
        longest: new tokens of a response, at most.
        dtype: precision that is read in.
    """

    encoder: TextEncoder
    sets: Mapping[str, UnlearnTexts]
    unrelated: UnlearnTexts
    evaluated: int
    longest: int
    dtype: torch.dtype

    def __call__(self, model: CausalLM) -> Evaluation:
        """All figures of a model."""
        figures: dict[str, float] = {}
        rows: list[dict[str, Any]] = []
        ratios: list[float] = []
        useful: dict[str, float] = {}
        for name, texts in self.sets.items():
            found, own, of_set = self._set(model, name, texts)
            figures |= {f"{name}/{key}": value for key, value in of_set.items()}
            rows += found
            if name == FORGET:
                ratios = [float(one) for one in own]
            else:
                wanted = ("probability", "rouge", "truth_ratio")
                useful |= {f"{name}/{key}": of_set[key] for key in wanted if key in of_set}
        if useful:
            figures["utility"] = model_utility(useful)
        figures[f"{UNRELATED}/perplexity"] = self.perplexity(model)
        return Evaluation(figures, rows, ratios)

    def perplexity(self, model: CausalLM) -> float:
        """Perplexity a token of the unrelated text."""
        encoded = self.pieces()
        logp = response_log_probabilities(model, encoded.examples(), dtype=self.dtype)
        tokens = sum(map(len, encoded.responses))
        loss = float(-logp.double().sum() / tokens)
        return math.exp(loss) if loss < 700 else math.inf

    def pieces(self) -> EncodedTexts:
        """The unrelated text, each document cut at what the model reads and 512 tokens."""
        limit = min(self.encoder.limit or 512, 512)
        short = TextEncoder(self.encoder.tokenizer, self.encoder.stop, chunk_tokens=limit)
        if self.unrelated.questions is not None:
            return self.encoder.texts(self.unrelated, self.chosen(self.unrelated))
        every = short.texts(self.unrelated, self.chosen(self.unrelated))
        first = {row: place for place, row in reversed(list(enumerate(every.rows)))}
        return every.take(sorted(first.values()))

    def chosen(self, texts: UnlearnTexts) -> list[int]:
        """The rows that are looked at."""
        return evenly_spread(len(texts), self.evaluated)

    def _set(
        self, model: CausalLM, name: str, texts: UnlearnTexts
    ) -> tuple[list[dict[str, Any]], Values, dict[str, float]]:
        """Rows, truth ratios or probabilities, and means of one set."""
        encoded = self.encoder.texts(texts, self.chosen(texts)).spread(self.evaluated)
        probability = self.probabilities(model, encoded)
        known, ratios = probability, probability
        figures = {}
        if texts.perturbed is not None:
            ratios, wrong = self._truth(model, texts, encoded.rows)
            kind = "forgotten" if name == FORGET else "retained"
            figures["truth_ratio"] = mean_truth_ratio(ratios, kind)
            if name not in (FORGET, RETAIN):  # as TOFU's real authors and world facts
                known = probability / (probability + wrong)
        figures["probability"] = float(known.mean())
        said, expected = self._said(model, texts, encoded)
        overlap = [rouge_l_recall(one, two) for one, two in zip(said, expected, strict=True)]
        figures["rouge"] = float(np.mean(overlap))
        columns: dict[str, Any] = {"probability": known, "rouge": overlap}
        if name == FORGET:
            drawn = self.extracted(model, encoded)
            figures |= {f"extracted_{key}": value for key, value in drawn.means().items()}
            columns["extracted"] = drawn.subsequence
            if texts.rephrased is not None:
                figures["rephrased_rouge"] = self._rephrased(model, texts, encoded)
        beginnings = _beginnings(encoded)
        rows = [
            {
                "set": name,
                "row": row,
                "question": texts.question(row) or self.encoder.decode(beginnings[at]),
                "expected": expected[at],
                "said": said[at],
                **{key: float(values[at]) for key, values in columns.items()},
            }
            for at, row in enumerate(encoded.rows)
        ]
        return rows, ratios, figures

    def probabilities(self, model: CausalLM, encoded: EncodedTexts) -> Values:
        """The geometric mean of the probabilities of each response's tokens."""
        examples = encoded.examples()
        logp = response_log_probabilities(model, examples, dtype=self.dtype)
        return np.asarray((logp / response_lengths(examples)).exp().double().numpy())

    def extracted(self, model: CausalLM, encoded: EncodedTexts) -> Extraction:
        """How the second half of each response comes back from what stands before it."""
        behind = self._behind(encoded)
        longest = min(self.longest, max(map(len, behind)))
        said = greedy(model, _beginnings(encoded), longest, self.encoder.stop)
        return extraction([one[: len(two)] for one, two in zip(said, behind, strict=True)], behind)

    def _behind(self, encoded: EncodedTexts) -> list[list[int]]:
        """The second halves of responses without their end, as long as what is generated."""
        found = []
        for response in encoded.responses:
            half = response[len(response) // 2 :]
            ended = len(half) > 1 and half[-1] in self.encoder.stop
            found.append((half[:-1] if ended else half)[: self.longest])
        return found

    def _said(
        self, model: CausalLM, texts: UnlearnTexts, encoded: EncodedTexts
    ) -> tuple[list[str], list[str]]:
        """What the model says, to questions or to the first half of documents, and should say."""
        if texts.questions is None:
            behind = self._behind(encoded)
            prompts = _beginnings(encoded)
            longest = min(self.longest, max(map(len, behind)))
            expected = [self.encoder.decode(one) for one in behind]
        else:
            prompts = encoded.prompts
            longest = min(self.longest, max(map(len, encoded.responses)))
            expected = [texts.answers[row] for row in encoded.rows]
        said = greedy(model, prompts, longest, self.encoder.stop)
        return [self.encoder.decode(one) for one in said], expected

    def _rephrased(self, model: CausalLM, texts: UnlearnTexts, encoded: EncodedTexts) -> float:
        """ROUGE-L recall of answers to the questions in other words."""
        assert texts.rephrased is not None
        prompts = [self.encoder.question(texts.rephrased[row]) for row in encoded.rows]
        longest = min(self.longest, max(map(len, encoded.responses)))
        said = greedy(model, prompts, longest, self.encoder.stop)
        pairs = zip(said, encoded.rows, strict=True)
        return float(
            np.mean(
                [rouge_l_recall(self.encoder.decode(one), texts.answers[row]) for one, row in pairs]
            )
        )

    def _truth(
        self, model: CausalLM, texts: UnlearnTexts, rows: list[int]
    ) -> tuple[Values, Values]:
        """Truth ratios, and the summed probabilities of wrong answers."""
        assert texts.perturbed is not None
        right = texts.paraphrased or texts.answers
        loss = self._losses(model, self.encoder.answers(texts, rows, [right[row] for row in rows]))
        repeated = [row for row in rows for _ in texts.perturbed[row]]
        wrong = [one for row in rows for one in texts.perturbed[row]]
        losses = self._losses(model, self.encoder.answers(texts, repeated, wrong))
        ends = np.cumsum([len(texts.perturbed[row]) for row in rows])[:-1]
        parts = np.split(losses, ends)
        means = np.array([part.mean() for part in parts])  # rows may have unequal numbers of them
        summed = np.array([np.exp(-part).sum() for part in parts])
        return truth_ratio(loss, means[:, None]), summed

    def _losses(self, model: CausalLM, encoded: EncodedTexts) -> Values:
        """The mean loss a token of each response."""
        examples = encoded.examples()
        logp = response_log_probabilities(model, examples, dtype=self.dtype)
        return np.asarray((-logp / response_lengths(examples)).double().numpy())


def _beginnings(encoded: EncodedTexts) -> list[list[int]]:
    """Each prompt with the first half of its response."""
    pairs = zip(encoded.prompts, encoded.responses, strict=True)
    return [prompt + response[: len(response) // 2] for prompt, response in pairs]
