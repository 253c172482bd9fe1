"""Supervised tuning of a language model on responses: demonstrations, or its own that were right.

Used as every recipe is, on :class:`gradatim.language.response_examples.ResponseExamples` or any
source of batches with ``ids``, ``mask`` and ``response``::

    recipe = SupervisedTuning()
    fit(model, examples, recipe.step, optimizer=optimizer, epochs=3)
"""

from collections.abc import Mapping
from typing import Any

from gradatim.core.checks import check_range
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.training.callbacks import Callback
from gradatim.training.fit import Stateful
from gradatim.training.step import Loss, State


class SupervisedTuning:
    r"""Cross-entropy of response tokens; prompts are read but not learned.

    .. math:: L = - \frac{1}{|R|} \sum_{t \in R} \log p(x_t \mid x_{<t})

    Args:
        chunk_tokens: tokens whose logits are held at once.

    Raises:
        InputError: ``chunk_tokens`` below 1.

    >>> import torch
    >>> from gradatim.language.response_examples import ResponseExamples
    >>> from gradatim.language.sampling import as_responses
    >>> from gradatim.networks.decoder import SmallDecoder
    >>> from gradatim.training.fit import fit
    >>> model = SmallDecoder(10, hidden_size=8, layers=1)
    >>> examples = ResponseExamples([[1, 2], [3]], as_responses([[4, 5], [6, 7, 8]]))
    >>> adam = torch.optim.Adam(model.parameters(), 0.01)
    >>> fit(model, examples, SupervisedTuning().step, optimizer=adam, steps=3).step
    3
    """

    def __init__(self, *, chunk_tokens: int = 4096) -> None:
        check_range("chunk_tokens", chunk_tokens, 1)
        self.chunk_tokens = chunk_tokens
        self.callbacks: tuple[Callback, ...] = ()
        self.stateful: Mapping[str, Stateful] = {}

    def step(self, model: CausalLM, batch: Mapping[str, Any], state: State) -> Loss:
        """Sum over response tokens, and their number."""
        response = batch["response"]
        log_probabilities = token_log_probabilities(
            model, batch["ids"], batch["mask"], only=response, chunk_tokens=self.chunk_tokens
        )
        return Loss(-log_probabilities.sum(), response.sum())
