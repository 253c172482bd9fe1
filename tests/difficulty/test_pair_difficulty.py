import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.curriculum.orders import difficulty_bins
from gradatim.difficulty.pair_difficulty import pair_difficulty
from gradatim.mining.ranked_pairs import ranked_pairs

SCORES = st.lists(st.tuples(st.floats(-50, 50), st.floats(-50, 50)), min_size=1, max_size=6)


@given(scores=SCORES, lengths=st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_it_is_the_negative_gap_a_token(scores, lengths):
    chosen, rejected = torch.tensor(scores, dtype=torch.float64).T
    one, other = (torch.full((len(scores),), length) for length in lengths)
    wanted = [-(a / lengths[0] - b / lengths[1]) for a, b in scores]
    found = pair_difficulty(chosen, rejected, chosen_lengths=one, rejected_lengths=other)
    assert found.tolist() == pytest.approx(wanted)
    ones = torch.ones_like(one)
    assert torch.equal(
        pair_difficulty(chosen, rejected),
        pair_difficulty(chosen, rejected, chosen_lengths=ones, rejected_lengths=ones),
    )
    assert torch.equal(pair_difficulty(chosen, rejected), -pair_difficulty(rejected, chosen))


def test_the_stages_of_ranked_pairs():
    ratings = torch.tensor([[5, 4, 3, 2], [9, 1, 5, 6.5]])
    pairs = ranked_pairs(ratings)
    difficulty = pair_difficulty(*pairs.of(ratings))
    assert torch.equal(difficulty, -pairs.gap)
    within = difficulty_bins(difficulty, 3, group=pairs.prompt)
    assert within.tolist() == [0, 1, 2, 0, 1, 2]
    assert difficulty_bins(difficulty, 3).tolist() == [1, 2, 2, 0, 0, 1]


def test_no_gradient_and_half_precision():
    one = torch.tensor([1.0], requires_grad=True)
    assert not pair_difficulty(one, one).requires_grad
    half = torch.tensor([300.0, 256.0], dtype=torch.bfloat16)
    assert pair_difficulty(half, half - 1).dtype == torch.float32


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"chosen": torch.zeros(2, 1)}, r"chosen: expected shape \[P\]"),
        ({"rejected": torch.zeros(3)}, "rejected: expected the shape of chosen"),
        ({"chosen_lengths": torch.ones(2)}, "expected both or none"),
        ({"chosen_lengths": torch.ones(3), "rejected_lengths": torch.ones(2)}, "chosen_lengths"),
        ({"chosen_lengths": torch.ones(2), "rejected_lengths": torch.ones(3)}, "rejected_lengths"),
    ],
)
def test_errors(wrong, message):
    with pytest.raises(InputError, match=message):
        pair_difficulty(**{"chosen": torch.zeros(2), "rejected": torch.zeros(2), **wrong})
