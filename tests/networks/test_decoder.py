"""The small decoder gives the same whatever the padding, and decodes what it reads whole."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.sampling import left_padded, right_padded
from gradatim.networks.decoder import SmallDecoder

ROWS = [[1, 2, 3, 4, 5, 6, 7], [8, 9], [3, 3, 3, 10]]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def decoder(**options):
    torch.manual_seed(0)
    options = {"hidden_size": 16, "window": 3, "embedding_size": 8, **options}
    model = SmallDecoder(11, decoding_dtype=torch.float32, **options)
    for name, weights in model.named_parameters():  # as far from the start as a trained model is
        if "norm" not in name and weights.ndim == 2:
            torch.nn.init.normal_(weights, std=0.4)
    return model


def padded(left, right):
    """The rows between so much padding, which holds tokens that must not be seen."""
    ids, mask = right_padded(ROWS)
    ids = torch.nn.functional.pad(ids.masked_fill(~mask, 5), (left, right), value=7)
    return ids, torch.nn.functional.pad(mask, (left, right), value=False)


def test_outputs_do_not_depend_on_the_side_and_amount_of_padding():
    model = decoder()
    alone = [model(torch.tensor([row]), torch.ones(1, len(row)) > 0)[0] for row in ROWS]
    for ids, mask in [padded(0, 0), padded(4, 0), padded(0, 9), padded(2, 3), left_padded(ROWS)]:
        hidden = model(ids, mask)
        assert torch.isfinite(hidden).all()
        for row, expected in enumerate(alone):
            torch.testing.assert_close(hidden[row][mask[row]], expected, **CLOSE)


def test_no_token_sees_a_later_one():
    model = decoder()
    ids, mask = torch.tensor([[1, 2, 3, 4, 5, 6]]), torch.ones(1, 6) > 0
    changed = ids.clone()
    changed[0, 4] = 9
    before, after = model(ids, mask), model(changed, mask)
    torch.testing.assert_close(before[:, :4], after[:, :4], rtol=0, atol=0)
    assert (before[:, 4:] - after[:, 4:]).abs().amax(dim=2).min() > 1e-3


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (2, 4), (3, 2)])
def test_attention_reaches_beyond_the_window(layers, heads):
    model = decoder(layers=layers, heads=heads)
    ids, mask = torch.arange(1, 11)[None], torch.ones(1, 10) > 0
    changed = ids.clone()
    changed[0, 0] = 10
    assert (model(ids, mask)[0, -1] - model(changed, mask)[0, -1]).abs().max() > 1e-4


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("window", [1, 3, 9])
def test_decoding_equals_reading_whole_also_after_rows_are_dropped(copies, window):
    model = decoder(window=window)
    ids, mask = left_padded(ROWS)
    logits, state = model.begin(ids, mask, copies, 8)
    texts = [list(row) for row in ROWS for _ in range(copies)]
    generator = torch.Generator().manual_seed(1)
    for step in range(8):
        expected = torch.stack(
            [model.logits(model(torch.tensor([t]), torch.ones(1, len(t)) > 0))[0, -1]
             for t in texts]
        )  # fmt: skip
        torch.testing.assert_close(logits, expected, **CLOSE)
        if step in (2, 5):
            rows = torch.randperm(len(texts), generator=generator)[: max(1, len(texts) - 1)]
            state.keep(rows)
            texts = [texts[row] for row in rows.tolist()]
        tokens = torch.randint(11, (len(texts),), generator=generator)
        texts = [[*text, token] for text, token in zip(texts, tokens.tolist(), strict=True)]
        logits = state.advance(tokens)
    with pytest.raises(InputError, match="more tokens are read than begin"):
        state.advance(tokens)


def test_decoding_leaves_the_model_alone_and_follows_its_weights():
    model = decoder().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids, mask = left_padded(ROWS)
    first, _ = model.begin(ids, mask, 1, 1)
    assert model.training and not first.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weights.requires_grad for weights in model.parameters())
    with torch.no_grad():
        model.head.weight.mul_(2)
    torch.testing.assert_close(model.begin(ids, mask, 1, 1)[0], 2 * first, **CLOSE)


def test_half_precision_decoding_is_close():
    model = decoder()
    ids, mask = left_padded(ROWS)
    exact, _ = model.begin(ids, mask, 2, 1)
    model.decoding_dtype = torch.bfloat16
    rounded, state = model.begin(ids, mask, 2, 1)
    assert rounded.dtype == torch.bfloat16
    assert state.advance(torch.zeros(6, dtype=torch.long)).dtype == torch.bfloat16
    error = (rounded.float() - exact).abs().max() / exact.abs().max()
    assert error < 0.1


def test_gradients_reach_every_weight_and_stay_finite_beside_padding():
    model = decoder()
    ids, mask = padded(3, 2)
    model.logits(model(ids, mask))[mask].square().sum().backward()
    assert all(torch.isfinite(weights.grad).all() for weights in model.parameters())
    assert all(
        weights.grad.any() for name, weights in model.named_parameters() if "qkv.bias" not in name
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [({"heads": 3}, "hidden_size: expected a multiple of heads=3, got 16"),
     ({"layers": 0}, "layers: expected a number in"),
     ({"window": 0}, "window: expected a number in")],
)  # fmt: skip
def test_wrong_sizes(options, message):
    with pytest.raises(InputError, match=message):
        decoder(**options)


def test_wrong_arguments():
    with pytest.raises(InputError, match="decoding_dtype: expected floating point"):
        SmallDecoder(5, decoding_dtype=torch.int8)
    model = decoder()
    ids = torch.ones(2, 3, dtype=torch.long)
    with pytest.raises(InputError, match="mask: expected the shape of ids"):
        model(ids, torch.ones(2, 4) > 0)
    with pytest.raises(InputError, match="copies: expected a number in"):
        model.begin(ids, ids > 0, 0, 1)
