"""The bag encoder against a loop over texts."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.networks.bag_encoder import BagEncoder, PackedTokens

TEXTS = st.lists(st.lists(st.integers(0, 6), max_size=5), min_size=1, max_size=6)


def _encoder(**options):
    torch.manual_seed(0)
    encoder = BagEncoder(torch.randn(7, 4, dtype=torch.float64), 3, **options)
    torch.nn.init.normal_(encoder.log_weights)
    return encoder


@given(TEXTS, st.sampled_from(["layer", "unit", "none"]))
def test_each_text_is_a_softmax_weighted_mean(texts, norm):
    encoder = _encoder(norm=norm)
    found = encoder(PackedTokens.of(texts))
    for row, text in zip(found, texts, strict=True):
        mean = torch.zeros(4, dtype=torch.float64)
        if text:
            mean = encoder.log_weights[text].softmax(0) @ encoder.table[text]
        wanted = encoder.linear(mean)
        if norm == "layer":
            wanted = functional.layer_norm(wanted, (3,))
        elif norm == "unit":
            wanted = wanted / wanted.norm()
        torch.testing.assert_close(row, wanted)


@given(TEXTS, st.data())
def test_rows_of_a_pack_are_the_texts_themselves(texts, data):
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=6))
    found = PackedTokens.of(texts)[torch.tensor(rows, dtype=torch.int64)]
    wanted = PackedTokens.of([texts[row] for row in rows])
    assert found.ids.tolist() == wanted.ids.tolist()
    assert found.offsets.tolist() == wanted.offsets.tolist()
    assert found.lengths.tolist() == [len(texts[row]) for row in rows]


def test_first_token_weights_are_those_given():
    weights = torch.tensor([1.0, 3.0])
    encoder = BagEncoder(torch.eye(2), 2, token_weights=weights, norm="none")
    with torch.no_grad():
        encoder.linear.weight.copy_(torch.eye(2))
        encoder.linear.bias.zero_()
    torch.testing.assert_close(encoder(PackedTokens.of([[0, 1]])), torch.tensor([[0.25, 0.75]]))


def test_gradients_reach_weights_and_map_but_not_the_table():
    encoder = _encoder()
    texts = PackedTokens.of([[0, 1, 1], [2]])

    def outputs(log_weights, matrix):
        parameters = {"log_weights": log_weights, "linear.weight": matrix}
        return torch.func.functional_call(encoder, parameters, (texts,))

    inputs = (
        encoder.log_weights.detach().requires_grad_(),
        encoder.linear.weight.detach().requires_grad_(),
    )
    assert torch.autograd.gradcheck(outputs, inputs)
    assert "table" not in dict(encoder.named_parameters()) | encoder.state_dict()


def test_extreme_weights_stay_finite():
    encoder = _encoder(norm="none")
    with torch.no_grad():
        encoder.log_weights.copy_(torch.tensor([900.0, -900.0, 0, 0, 0, 0, 0]))
    found = encoder(PackedTokens.of([[0, 2], [0, 1], [1]]))
    wanted = encoder.linear(encoder.table[[0, 0, 1]])
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: BagEncoder(torch.eye(2), 2, norm="l2"), "norm: expected one of"),
        (lambda: BagEncoder(torch.ones(3), 2), "table: expected shape"),
        (lambda: BagEncoder(torch.eye(2), 2, token_weights=torch.ones(3)), "token_weights"),
        (lambda: BagEncoder(torch.eye(2), 2, token_weights=torch.zeros(2)), "above 0"),
        (lambda: PackedTokens(torch.zeros(2), torch.tensor([0])), "ids: expected int64"),
        (lambda: PackedTokens(torch.tensor([1, 2]), torch.tensor([1])), "offsets: expected"),
        (lambda: PackedTokens(torch.tensor([1, 2]), torch.tensor([0, 2, 1])), "offsets: expected"),
        (lambda: PackedTokens(torch.tensor([1, 2]), torch.tensor([0, 3])), "offsets: expected"),
    ],
)
def test_bad_input_is_told(act, message):
    with pytest.raises(InputError, match=message):
        act()
