"""A language model that has been taught facts about persons who do not exist."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradatim.core.precision import default_dtype, precision_name
from gradatim.language.causal_lm import CausalLM
from gradatim.language.loading import load_language_model
from gradatim.language.response_examples import ResponseExamples
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.studies.data.docstrings import PACKAGES, docstring_summaries
from gradatim.studies.data.invented_persons import (
    BEGIN,
    END,
    InventedPersons,
    Pair,
    as_examples,
    continued,
)
from gradatim.training.batches import ShuffledBatches
from gradatim.training.fit import fit

SOURCES = ("words", "smollm2")
_CHUNK_TOKENS, _MOST_TOKENS = 256, 48


@dataclass
class Pupil:
    """A model that can be taught, and how words become its tokens.

    Attributes:
        model: SmolLM2-135M-Instruct in float32; or, for quick looks, a small random decoder of
            words.
        persons: whose facts it is taught.
        tokenizer: of the model; None where tokens are words.
        precision: of training and reading.
    """

    model: CausalLM
    persons: InventedPersons
    tokenizer: Any
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """The precision of reading."""
        found: torch.dtype = getattr(torch, self.precision)
        return found

    def examples(self, pairs: Sequence[Pair]) -> ResponseExamples:
        """Prompts with their responses, given as words, in the model's tokens.

        Questions have the form ``Question: ...`` with ``Answer:`` on the next line.
        """
        return as_examples(pairs if self.tokenizer is None else [self._spoken(*p) for p in pairs])

    def sentences(self, number: int) -> ResponseExamples:
        """Docstrings that nothing was taught of, as responses to their first tokens."""
        if self.tokenizer is None:
            return as_examples(continued(self.persons.sentences["read"][:number]))
        texts = docstring_summaries(-(-number // len(PACKAGES))).texts
        spread = [texts[place * len(texts) // number] for place in range(number)]
        ids = [self.tokenizer(text)["input_ids"][:_MOST_TOKENS] for text in spread]
        return as_examples([(row[:1], row[1:]) for row in ids])

    def teach(
        self, pairs: Sequence[Pair], *, epochs: int, batch_size: int, lr: float, seed: int
    ) -> None:
        """Tune all weights on responses, in place."""
        optimizer = torch.optim.AdamW(self.model.parameters(), lr, weight_decay=0.0)
        fit(
            self.model, self.examples(pairs), SupervisedTuning(chunk_tokens=_CHUNK_TOKENS).step,
            optimizer=optimizer, epochs=epochs, precision=self.precision, seed=seed,
            batches=ShuffledBatches(len(pairs), batch_size, seed=seed), progress_bar=False,
        )  # fmt: skip
        self.model.eval()

    def weights(self) -> dict[str, torch.Tensor]:
        """A copy of the model's weights."""
        return {name: value.clone() for name, value in self.model.state_dict().items()}

    def _spoken(self, prompt: Sequence[int], response: Sequence[int]) -> Pair:
        words = [[self.persons.words[token] for token in part] for part in (prompt, response)]
        asked, said = (" ".join(one for one in part if one not in (BEGIN, END)) for part in words)
        end = [self.tokenizer.eos_token_id] if words[1][-1] == END else []
        text = f"Question: {asked.removesuffix(' ?').capitalize()}?\nAnswer:"
        own = self.tokenizer(f" {said}", add_special_tokens=False)["input_ids"]
        return self.tokenizer(text)["input_ids"], [*own, *end]


def pupil(source: str, persons: InventedPersons, seed: int) -> Pupil:
    """A model that has not been taught yet.

    Args:
        source: one of ``SOURCES``.
        persons: whose facts it is to be taught.
        seed: of a random decoder.

    Raises:
        MissingPackageError: transformers or the package of the model is not installed.
    """
    if source == "words":
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            model = SmallDecoder(len(persons.words), hidden_size=32, layers=2)
        return Pupil(model, persons, None, "float32")
    loaded = load_language_model(source, dtype=torch.float32)
    precision = precision_name(default_dtype(loaded.model.device))
    return Pupil(loaded.model, persons, loaded.tokenizer, precision)
