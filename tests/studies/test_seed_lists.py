import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.studies.seed_lists import check_seeds, format_seeds, parse_seeds


@given(st.sets(st.integers(0, 60), min_size=1))
def test_written_seeds_are_read_again(seeds) -> None:
    assert parse_seeds(format_seeds(seeds)) == sorted(seeds)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=4))
def test_any_ranges_are_read_as_written_or_refused(ranges) -> None:
    text = ", ".join(f"{low}-{high}" for low, high in ranges)
    wanted = [seed for low, high in ranges for seed in range(low, high + 1)]
    if any(high < low for low, high in ranges) or len(set(wanted)) < len(wanted):
        with pytest.raises(InputError, match=r"reversed|twice"):
            parse_seeds(text)
    else:
        assert parse_seeds(text) == wanted


@given(st.text(max_size=12))
def test_any_text_gives_seeds_or_one_clear_error(text) -> None:
    try:
        seeds = parse_seeds(text)
    except InputError as error:
        assert str(error).startswith("seeds: ")
    else:
        assert parse_seeds(format_seeds(seeds)) == sorted(seeds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a list such as 10-19 or 0,3,5-7, got ''"),
        ("1,,2", "expected a list"),
        ("-1", "expected a list"),
        ("1-", "expected a list"),
        ("1.5", "expected a list"),
        ("٣", "expected a list"),
        ("19-10", "the range 19-10 is reversed; write 10-19"),
        ("1,0-2", "1 stands there twice"),
        ("0-999999999", "at most 10000 seeds"),
    ],
)
def test_malformed_seeds(text, message) -> None:
    with pytest.raises(InputError, match=message):
        parse_seeds(text)


@pytest.mark.parametrize("seeds", [[], [-1], [1, 1], [1.0], [True]])
def test_seeds_from_python_are_checked_too(seeds) -> None:
    with pytest.raises(InputError, match=r"^seeds: "):
        check_seeds(seeds)
