"""Complexity of requests: ranks by hand, against pandas-free brute force, and extremes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.difficulty.tool_complexity import tool_complexity

EXAMPLES = st.lists(
    st.tuples(st.lists(st.text("ab", max_size=4), max_size=4), st.integers(0, 3)),
    min_size=1,
    max_size=12,
)


@given(examples=EXAMPLES, weights=st.tuples(*[st.integers(0, 3)] * 3).filter(any))
def test_mean_of_ranks(
    examples: list[tuple[list[str], int]], weights: tuple[int, int, int]
) -> None:
    """How many are below, and half of the others that are equal, over n - 1."""
    tools, calls = [one for one, _ in examples], [number for _, number in examples]
    criteria = [[len(one) for one in tools], [len("".join(one)) for one in tools], calls]
    last = max(1, len(examples) - 1)
    expected = [
        sum(
            weight * (sum(b < column[i] for b in column) + (column.count(column[i]) - 1) / 2) / last
            for weight, column in zip(weights, criteria, strict=True)
        )
        / sum(weights)
        for i in range(len(examples))
    ]
    found = tool_complexity(tools, calls, weights=weights)
    assert np.allclose(found, expected) and ((found >= 0) & (found <= 1)).all()


def test_extremes() -> None:
    """More of everything is hardest; what is alike is in the middle; nothing gives nothing."""
    found = tool_complexity([["a"], ["a", "bb"], ["a", "bb", "c"]], [0, 1, 2])
    assert found.tolist() == [0.0, 0.5, 1.0]
    assert tool_complexity([["a"]] * 4, [1] * 4).tolist() == [0.5] * 4
    assert tool_complexity([], []).shape == (0,)


@pytest.mark.parametrize(
    ("calls", "options", "named"),
    [
        ([1], {}, "calls"),
        ([1, -1], {}, "calls"),
        ([1, np.nan], {}, "calls"),
        ([[1, 2]], {}, "calls"),
        ([1, 2], {"weights": (0, 0, 0)}, "weights"),
        ([1, 2], {"weights": (1, -1, 1)}, "weights"),
        ([1, 2], {"weights": (1, 1)}, "weights"),
        ([1, 2], {"weights": (1, 1, np.inf)}, "weights"),
    ],
)
def test_bad_input(calls: list[float], options: dict[str, tuple[float, ...]], named: str) -> None:
    """Names what is wrong."""
    with pytest.raises(InputError, match=named):
        tool_complexity([["a"], ["b"]], calls, **options)  # type: ignore[arg-type]
