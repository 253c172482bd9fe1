"""Rounded and largest predictions against the whole ones."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.targets.compact_predictions import CompactPredictions
from gradatim.targets.past_predictions import PastPredictions
from gradatim.training.serialization import flatten_state, restore_state

N, C = 12, 7


def batch(seed=0, size=5):
    generator = torch.Generator().manual_seed(seed)
    index = torch.randperm(N, generator=generator)[:size]
    return index, (3 * torch.randn(size, C, generator=generator)).softmax(1)


@pytest.mark.parametrize("settings", [{"dtype": "float32"}, {"dtype": "float32", "top_k": C}])
def test_all_of_float32_is_what_past_predictions_keep(settings):
    ours, theirs = CompactPredictions(N, C, **settings), PastPredictions(N, C, 0.0)
    for seed in range(3):
        ours.update(*batch(seed))
        theirs.update(*batch(seed))
    torch.testing.assert_close(ours.targets(torch.arange(N)), theirs.values)


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("bfloat16", 8e-3)])
def test_rounding(dtype, error):
    past, (index, rows) = CompactPredictions(N, C, dtype=dtype), batch()
    found = past.update(index, rows)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, rows, rtol=0, atol=error)
    torch.testing.assert_close(found.sum(1), torch.ones(len(index)))
    assert past.bytes == N * C * 2


def test_the_largest_and_an_even_rest():
    past, (index, rows) = CompactPredictions(N, C, top_k=2, dtype="float32"), batch()
    found = past.update(index, rows)
    for got, row in zip(found, rows, strict=True):
        kept = row.argsort(descending=True)[:2]
        wanted = torch.full((C,), float(1 - row[kept].sum()) / (C - 2))
        wanted[kept] = row[kept]
        torch.testing.assert_close(got, wanted)
    absent = torch.tensor([i for i in range(N) if i not in index.tolist()])
    assert past.targets(absent).abs().sum() == 0


def test_memory():
    assert CompactPredictions(1000, 1000, top_k=10).bytes == 1000 * 10 * 4
    assert CompactPredictions(1000, 40_000, top_k=10).bytes == 1000 * 10 * 6
    assert CompactPredictions(1000, 1000).bytes == 1000 * 1000 * 2


def test_many_classes_keep_their_numbers():
    past = CompactPredictions(1, 40_000, top_k=1)
    row = torch.zeros(1, 40_000)
    row[0, 39_999] = 1.0
    torch.testing.assert_close(past.update(torch.tensor([0]), row), row)


@pytest.mark.parametrize("top_k", [None, 3])
def test_state(top_k):
    past = CompactPredictions(N, C, top_k=top_k)
    past.update(*batch())
    again = CompactPredictions(N, C, top_k=top_k)
    again.load_state_dict(restore_state(*flatten_state(past.state_dict())))
    everything = torch.arange(N)
    assert torch.equal(again.targets(everything), past.targets(everything))
    other = CompactPredictions(N, C, top_k=2 if top_k is None else None)
    with pytest.raises(InputError, match="top_k: expected"):
        other.load_state_dict(past.state_dict())


def test_arguments_stay_as_they_are():
    index, rows = batch()
    before = rows.clone()
    CompactPredictions(N, C, top_k=2).update(index, rows)
    assert torch.equal(rows, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: CompactPredictions(3, 4, top_k=5), "top_k: expected"),
        (lambda: CompactPredictions(3, 4, dtype="int8"), "dtype: expected"),
        (lambda: CompactPredictions(3, 0), "num_classes: expected"),
        (
            lambda: CompactPredictions(3, 4).update(torch.tensor([0]), torch.zeros(1, 3)),
            "probabilities: expected",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
