"""Calls of tools read from text, and compared."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.metrics.call_match import (
    PARTS,
    Call,
    call_match,
    fragment_reward,
    parse_calls,
    word_overlap,
)

VALUES = st.one_of(
    st.integers(-50, 50), st.booleans(), st.none(), st.text("ab'\"\\ \n", max_size=4),
    st.lists(st.integers(0, 3), max_size=2),
)  # fmt: skip
CALLS = st.lists(
    st.builds(
        Call,
        st.sampled_from(["f", "g", "a.b"]),
        st.dictionaries(st.sampled_from(["x", "y", "z"]), VALUES, max_size=3),
    ),
    min_size=1,
    max_size=3,
)


def written(calls: list[Call]) -> str:
    """Calls as a model writes them."""
    parts = [
        f"{call.name}({', '.join(f'{name}={value!r}' for name, value in call.arguments.items())})"
        for call in calls
    ]
    return f"[{', '.join(parts)}]"


@given(calls=CALLS)
def test_what_is_written_is_read(calls: list[Call]) -> None:
    """Reading undoes writing."""
    assert parse_calls(written(calls)) == calls


@given(text=st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing that a model writes breaks the reader."""
    found = parse_calls(text)
    assert found is None or found
    assert call_match(text, text)["exact"] == 1.0 or found is not None


@pytest.mark.parametrize(
    "text",
    ["", "none", "[]", "[f(1), 2]", "f(a=1", "[f(a=1, a=2)]", "f(**x)", "(" * 5000, "x" * 10, "1/0",
     "[f(x)]; import os", "\x00"],
)  # fmt: skip
def test_what_is_no_list_of_calls(text: str) -> None:
    """Among it too deep nesting, arguments given twice, and mappings without names."""
    assert parse_calls(text) is None


def test_nothing_is_run() -> None:
    """What stands in an argument stays text."""
    found = parse_calls("[f(x=__import__('os').abort(), y=9**9**9**9)]")
    assert found == [Call("f", {"x": "__import__('os').abort()", "y": "9 ** 9 ** 9 ** 9"})]


def test_kinds_of_arguments() -> None:
    """By place, by name, and words without quotes."""
    assert parse_calls("a.b(1, day=ann, z=-2.5)") == [
        Call("a.b", {"0": 1, "day": "ann", "z": -2.5})
    ]


@pytest.mark.parametrize(
    ("prediction", "reference", "shares"),
    [
        ("[f(a=1, b=2)]", "[f(b=2, a=1)]", (1, 1, 1, 1)),
        ("[f(a=1)]", "[f(a=1, b=2)]", (1, 1 / 2, 1 / 2, 0)),
        ("[f(a=1, b=2)]", "[f(a=1)]", (1, 1 / 2, 1 / 2, 0)),
        ("[g(a=1)]", "[f(a=1)]", (0, 0, 0, 0)),
        ("[f(a=1), g()]", "[f(a=1)]", (1 / 2, 1, 1, 0)),
        ("[f()]", "[f()]", (1, 1, 1, 1)),
        ("[f(a=True)]", "[f(a=1)]", (1, 1, 0, 0)),
        ("[f(a=1.0)]", "[f(a=1)]", (1, 1, 1, 1)),
        ("no", "[f(a=1)]", (0, 0, 0, 0)),
        ("[f(a=1)]", "no", (0, 0, 0, 0)),
        ("anything", "no", (1, 1, 1, 1)),
        ("[g(a=1), f(a=2)]", "[f(a=2), g(a=1)]", (0, 0, 0, 0)),
    ],
)
def test_shares(prediction: str, reference: str, shares: tuple[float, ...]) -> None:
    """By hand."""
    assert tuple(call_match(prediction, reference)[part] for part in PARTS) == shares


@settings(deadline=None)
@given(one=CALLS, other=CALLS)
def test_order_may_be_left_out(one: list[Call], other: list[Call]) -> None:
    """Without order the names agree as well as in the best order of the calls."""
    best = max(
        call_match(written(list(some)), written(list(others)))["name"]
        for some in itertools.permutations(one)
        for others in itertools.permutations(other)
    )
    free = call_match(written(one), written(other), ordered=False)
    assert free["name"] == best
    assert call_match(written(one[::-1]), written(one), ordered=False)["exact"] == 1.0


@given(one=CALLS, other=CALLS)
def test_exact_means_equal(one: list[Call], other: list[Call]) -> None:
    """Exactness is equality, where no value is both a number and a truth value."""
    shares = call_match(written(one), written(other))
    assert all(0 <= share <= 1 for share in shares.values())
    assert shares["name"] >= 0 and shares["arg_names"] >= shares["arg_values"]
    same = repr([(c.name, sorted(c.arguments.items(), key=str)) for c in one])
    assert (shares["exact"] == 1.0) == (
        same == repr([(c.name, sorted(c.arguments.items(), key=str)) for c in other])
    )


def test_overlap_of_words() -> None:
    """The smaller set of words decides; without words there is no overlap."""
    assert word_overlap("a b b", "b c d") == 0.5
    assert word_overlap("", "a") == word_overlap(" ", "") == 0.0


def test_fragments_by_hand() -> None:
    """Both close, one closes, nothing is known, nothing is said."""
    assert fragment_reward("f(a)]", "x f(a)]") == pytest.approx(0.1 + 1 - 0.5)
    assert fragment_reward("f(a", "x f(a)]") == pytest.approx(-0.1 + 0 - 0.5)
    assert fragment_reward("a", "a b") == pytest.approx(0.6)
    assert fragment_reward("a )", None) == 0.1
    assert fragment_reward("a", None, bonus=0.3) == -0.3
    assert fragment_reward("  ", "a") == 0.0
    with pytest.raises(InputError, match="bonus"):
        fragment_reward("a", "a", bonus=-1)
