"""Reading in batches of like length equals reading one by one."""

from functools import partial

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.reading import read_responses
from gradatim.language.sampling import as_responses
from gradatim.networks.decoder import SmallDecoder

TEXTS = [[3, 4, 5], [1], [2, 2, 2, 2, 2, 2, 2], [9, 8], [7, 6]]
PROMPTS = [[1, 2], [3], [4, 5, 6], [1], [1, 1, 1, 1, 1, 1, 1, 1]]


def decoder():
    torch.manual_seed(1)
    return SmallDecoder(10, hidden_size=8, layers=1, window=3, embedding_size=4)


@pytest.mark.parametrize("batch_tokens", [1, 9, 17, 40, 10_000])
def test_equals_reading_one_by_one(batch_tokens):
    model, responses, read_at_once = decoder(), as_responses(TEXTS), []

    def read(ids, mask):
        read_at_once.append(ids.shape)
        assert not torch.is_grad_enabled() and not model.training
        return token_log_probabilities(model, ids, mask)

    found = read_responses(
        model, read, PROMPTS, responses, batch_tokens=batch_tokens, dtype=torch.float32
    )
    assert found.shape == responses.tokens.shape and found.dtype == torch.float32
    assert model.training
    assert all(rows * width <= batch_tokens or rows == 1 for rows, width in read_at_once)
    assert sum(rows for rows, _ in read_at_once) == 5
    for row, (prompt, text) in enumerate(zip(PROMPTS, TEXTS, strict=True)):
        ids = torch.tensor([prompt + text])
        alone = token_log_probabilities(model, ids, torch.ones_like(ids) > 0)[0, len(prompt) :]
        torch.testing.assert_close(found[row, : len(text)], alone.detach(), rtol=1e-4, atol=1e-5)
        assert not found[row, len(text) :].any()


def test_what_was_in_evaluation_mode_stays_so():
    model = decoder().train()
    model.norm.eval()

    def failing(ids, mask):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        read_responses(model, failing, PROMPTS, as_responses(TEXTS))
    assert model.training and model.blocks[0].training and not model.norm.training


def test_the_precision_can_be_chosen():
    model, responses = decoder(), as_responses(TEXTS)
    read = partial(token_log_probabilities, model)
    exact = read_responses(model, read, PROMPTS, responses, dtype=torch.float32)
    rounded = read_responses(model, read, PROMPTS, responses, dtype=torch.bfloat16)
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, rtol=0.05, atol=0.05)


def test_no_responses_and_wrong_arguments():
    model = decoder()
    read = partial(token_log_probabilities, model)
    assert read_responses(model, read, [[1]], as_responses([])).shape == (0, 0)
    with pytest.raises(InputError, match="batch_tokens"):
        read_responses(model, read, [[1]], as_responses([[1]]), batch_tokens=0)
