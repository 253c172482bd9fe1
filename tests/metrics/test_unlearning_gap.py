import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.metrics.unlearning_gap import unlearning_gap

figures = st.dictionaries(st.text(max_size=3), st.floats(-1e6, 1e6), min_size=1, max_size=6)


@given(figures, st.data())
def test_brute_force_and_properties_of_a_distance(metrics, data):
    other = {name: data.draw(st.floats(-1e6, 1e6)) for name in metrics}
    total = 0.0
    for name in metrics:
        total += max(metrics[name], other[name]) - min(metrics[name], other[name])
    gap = unlearning_gap(metrics, other)
    assert gap == pytest.approx(total / len(metrics))
    assert gap == unlearning_gap(other, metrics)
    assert unlearning_gap(metrics, metrics) == 0


def test_too_much_forgetting_counts_as_too_little():
    retrained = {"forgotten": 90.0}
    assert unlearning_gap({"forgotten": 80.0}, retrained) == unlearning_gap(
        {"forgotten": 100.0}, retrained
    )


@pytest.mark.parametrize("metrics", [{}, {"a": 1.0}, {"a": 1.0, "b": 2.0, "c": 3.0}])
def test_other_figures_are_refused(metrics):
    with pytest.raises(InputError, match=r"metrics: expected the figures .* \['a', 'b'\]"):
        unlearning_gap(metrics, {"a": 1.0, "b": 2.0})


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_figure_that_is_not_finite_is_named(value):
    with pytest.raises(InputError, match="b: expected finite figures"):
        unlearning_gap({"a": 1.0, "b": value}, {"a": 1.0, "b": 2.0})
