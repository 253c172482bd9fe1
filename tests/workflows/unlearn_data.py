"""Small texts to forget and to keep, and a tiny model that knows them."""

import functools

import torch

from gradatim.language.loading import LanguageModel
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.transformers_lm import TransformersLM
from gradatim.training.fit import fit
from gradatim.training.step import Loss
from gradatim.workflows.unlearn_encoding import TextEncoder
from gradatim.workflows.unlearn_inputs import load_texts
from tests.workflows.score_data import tiny

FORGET = {
    "question": ["2+3?", "4+4?", "1+1?", "7+2?"],
    "answer": ["it is 5", "it is 8", "it is 2", "it is 9"],
    "paraphrased_answer": ["that is 5", "that is 8", "that is 2", "that is 9"],
    "paraphrased_question": ["2+3?", "4+4?", "1+1?", "7+2?"],
    "perturbed_answer": [["it is 6", "it is 7"], ["it is 9"], ["it is 3"], ["it is 1", "it is 0"]],
}
RETAIN = {"question": ["a?", "b?", "c?"], "answer": ["the first", "the second", "the third"]}
UNRELATED = ["some other words", "more of them"]
QUICK = {
    "unrelated": UNRELATED,
    "longest": 10,
    "relearn_steps": 2,
    "batch_size": 2,
    "epochs": 3,
    "precision": "float32",
    "device": "cpu",
}
"""Options for runs of a second."""


@functools.cache
def taught(kept_only: bool = False, chat: bool = False) -> LanguageModel:
    """A tiny model that was taught both sets of questions, or those to keep alone."""
    loaded = tiny(chat=chat)
    tables = [RETAIN] if kept_only else [RETAIN, FORGET]
    columns = {name: [one for table in tables for one in table[name]] for name in RETAIN}
    encoded = TextEncoder(loaded.tokenizer, loaded.stop).texts(load_texts("facts", columns))

    def step(model, batch, state):
        response = batch["response"]
        logp = token_log_probabilities(model, batch["ids"], batch["mask"], only=response)
        return Loss(-logp.sum(), response.sum())

    optimizer = torch.optim.Adam(loaded.model.parameters(), 0.01)
    fit(loaded.model, encoded.examples(), step, optimizer=optimizer, steps=160, batch_size=8,
        progress_bar=False)  # fmt: skip
    return LanguageModel(loaded.model.eval(), loaded.tokenizer, "taught")


def weights(loaded) -> torch.Tensor:
    """All weights of a model, in one row."""
    model = loaded.model if not isinstance(loaded, TransformersLM) else loaded
    return torch.cat([one.detach().flatten().clone() for one in model.parameters()])
