"""Log-probabilities in chunks equal those from all logits at once, and so do their gradients."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.causal_lm import CausalLM
from gradatim.language.log_probabilities import sequence_log_probabilities, token_log_probabilities
from gradatim.language.sampling import left_padded, right_padded
from gradatim.language.transformers_lm import TransformersLM
from tests.language.tiny_models import tiny_model

ROWS = [[5, 6, 7, 8, 9, 10, 11], [3, 4], [9], [9, 8, 7, 6, 5]]


class HandMade(CausalLM):
    """Sums of embeddings so far, in float64."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        table = torch.randn(64, 6, generator=generator, dtype=torch.float64)
        self.table = torch.nn.Parameter(table)
        self.head = torch.nn.Parameter(table.flip(0).T.clone())
        self.sizes = []

    def forward(self, ids, mask):
        return (self.table[ids] * mask[..., None]).cumsum(dim=1)

    def logits(self, hidden):
        self.sizes.append(hidden.shape[:-1].numel())
        return hidden @ self.head

    def begin(self, ids, mask, copies, longest):
        raise NotImplementedError


MODELS = [
    pytest.param(HandMade, id="hand-made"),
    pytest.param(lambda: TransformersLM(tiny_model()), id="Llama"),
    pytest.param(lambda: TransformersLM(tiny_model("Gemma2")), id="Gemma2"),
]


def reference(model, ids, mask):
    scores = model.logits(model(ids, mask))[:, :-1].log_softmax(dim=-1)
    values = scores.gather(2, ids[:, 1:, None])[..., 0]
    values = torch.cat([torch.zeros(len(ids), 1), values], dim=1)
    first = mask.long().cumsum(dim=1) <= 1
    return values.masked_fill(first | ~mask, 0.0)


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("pad", [left_padded, right_padded])
@pytest.mark.parametrize("chunk_tokens", [1, 3, 1000])
def test_values_and_gradients(make, pad, chunk_tokens):
    model = make()
    ids, mask = pad(ROWS)
    weights = torch.rand(ids.shape, generator=torch.Generator().manual_seed(1))
    ours = token_log_probabilities(model, ids, mask, chunk_tokens=chunk_tokens)
    expected = reference(model, ids, mask)
    torch.testing.assert_close(ours, expected.to(ours.dtype), rtol=1e-5, atol=1e-6)
    parameters = [p for p in model.parameters() if p.requires_grad]
    got = torch.autograd.grad((ours * weights).sum(), parameters)
    wanted = torch.autograd.grad((expected * weights).sum(), parameters)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_logits_are_held_for_one_chunk_only():
    model = HandMade()
    ids, mask = right_padded([list(range(40))] * 4)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, _same):
        values = token_log_probabilities(model, ids, mask, chunk_tokens=8)
    assert max(model.sizes) == 8 and sum(model.sizes) == 4 * 39
    assert max(saved) < 8 * 64  # not even the logits of one chunk are kept for the backward pass
    model.sizes.clear()
    values.sum().backward()
    assert max(model.sizes) == 8


def _same(tensor):
    return tensor


def test_bfloat16_models_give_float32():
    model = TransformersLM(tiny_model().bfloat16())
    ids, mask = right_padded(ROWS)
    values = token_log_probabilities(model, ids, mask)
    assert values.dtype == torch.float32
    expected = reference(TransformersLM(tiny_model()), ids, mask)
    torch.testing.assert_close(values, expected, rtol=0.02, atol=0.02)


def test_sequences():
    model = HandMade()
    ids, mask = right_padded(ROWS)
    response = mask.clone()
    response[:, :2] = False
    tokens = token_log_probabilities(model, ids, mask)
    model.sizes.clear()
    sums = sequence_log_probabilities(model, ids, mask, response)
    torch.testing.assert_close(sums, (tokens * response).sum(dim=1))
    assert sum(model.sizes) == int(response.sum())  # nothing is computed for prompts
    means = sequence_log_probabilities(model, ids, mask, response, average=True)
    counts = response.sum(dim=1)
    torch.testing.assert_close(means[counts > 0], (sums / counts)[counts > 0])
    assert means[counts == 0].tolist() == [0.0, 0.0]


def test_nothing_to_predict_and_bad_shapes():
    model = HandMade()
    ids = torch.tensor([[1], [2]])
    assert token_log_probabilities(model, ids, ids > 0).tolist() == [[0.0], [0.0]]
    with pytest.raises(InputError, match="mask"):
        token_log_probabilities(model, ids, ids[:1] > 0)
    with pytest.raises(InputError, match="chunk_tokens"):
        token_log_probabilities(model, ids, ids > 0, chunk_tokens=0)
