import math
from math import comb

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.special import binom, gamma

from gradatim.core.errors import InputError
from gradatim.difficulty.inductive_bias_complexity import (
    InductiveBias,
    complexity_from_logarithms,
    harmonic_degree,
    inductive_bias_complexity,
    log2_harmonic_count,
    log_wasserstein,
)
from gradatim.difficulty.inductive_bias_tasks import (
    PUBLISHED_TASKS,
    classification_complexity,
    decision_process_complexity,
    meta_learning_complexity,
    published_complexity,
    union_complexity,
)

TOY = {"error": 0.1, "n": 200, "radius": 1.0, "outputs": 1, "combinations": 2}


def by_hand(error, n, m, R, d, delta, D, B=1.0):
    """The formula with plain binomials, for sizes that fit."""
    M = 2 * math.pi * R / delta
    K = (math.sqrt((m - 1) ** 2 + 4 * M**2) - (m - 1)) / 2
    E = sum(binom(m + K - i, m) for i in (0, 1))
    area = 2 * math.pi ** ((m + 1) / 2) / gamma((m + 1) / 2)
    W = math.sqrt(m / 6) * (area * d / n) ** (1 / m) * R
    bits = math.log2(B * math.sqrt(D * d) / error * K * math.sqrt(D) / R * W)
    return (2 * D * d * E - n * D) * bits


def test_fourier_modes_on_a_circle():
    assert harmonic_degree(1, 5) == 5
    assert 2 ** log2_harmonic_count(1, 5) == pytest.approx(11)


@pytest.mark.parametrize(("m", "degree"), [(1, 3), (2, 4), (3, 6), (5, 2), (9, 7)])
def test_the_number_of_spherical_harmonics_by_counting(m, degree):
    # Harmonic polynomials of degree l in m + 1 variables.
    each = [
        comb(m + one, m) - (comb(m + one - 2, m) if one >= 2 else 0) for one in range(degree + 1)
    ]
    frequency = math.sqrt(degree * (degree + m - 1))
    assert harmonic_degree(m, frequency) == pytest.approx(degree)
    assert 2 ** log2_harmonic_count(m, frequency) == pytest.approx(sum(each))


@given(st.floats(0.3, 300), st.floats(1e-6, 1e6))
def test_the_degree_solves_its_equation(m, frequency):
    K = harmonic_degree(m, frequency)
    assert K >= 0 and K * (K + m - 1) == pytest.approx(frequency**2, rel=1e-9)


def test_published_image_tasks():
    imagenet = classification_complexity(
        error=0.1, n=1_280_901, classes=1000, dimension=48, radius=943.5923, resolution=65
    )
    assert imagenet.bits == pytest.approx(3.583e41, rel=1e-3)
    assert 2**imagenet.log2_parameters == pytest.approx(1.435e40, rel=1e-3)
    assert imagenet.bits_each == pytest.approx(24.963, abs=1e-3)
    assert imagenet.degree == pytest.approx(70.690, abs=1e-3)
    mnist = {"n": 60_000, "classes": 10, "dimension": 14, "radius": 17, "resolution": 2.39871}
    cifar = {"n": 50_000, "classes": 10, "dimension": 27, "resolution": 2.75064}
    assert classification_complexity(error=0.001, **mnist).bits == pytest.approx(1.29e16, rel=4e-3)
    found = classification_complexity(error=0.01, radius=math.sqrt(3072), **cifar)
    assert found.bits == pytest.approx(4.40e32, rel=4e-3)


def test_published_tasks_by_name():
    assert published_complexity("ImageNet", 0.1).bits == pytest.approx(3.583e41, rel=1e-3)
    bits = [published_complexity(name, 0.01).bits for name in PUBLISHED_TASKS]
    assert bits == sorted(bits)
    with pytest.raises(InputError, match="name: expected one of MNIST, SVHN, CIFAR-10, ImageNet"):
        published_complexity("CIFAR", 0.1)


def test_cart_poles_and_mujoco():
    steps = {"error": 0.001, "resolution": 0.001}
    cart_poles = [
        decision_process_complexity(dimension=2 * T, n=10_000, **steps).bits for T in range(1, 6)
    ]
    assert cart_poles == pytest.approx([4.41e9, 3.33e17, 1.46e25, 4.69e32, 1.19e40], rel=3e-3)
    # The formula that the authors give for the cart-pole alone.
    T = 3
    own = (2 * (2000 * math.pi) ** (2 * T) * math.pi**T / gamma(T + 1) - 1e4) * (
        math.log2(4 * math.pi**2 / math.sqrt(3))
        + 0.5 * math.log2(T)
        + 2 * math.log2(1000)
        - math.log2(1e4) / (2 * T)
    )
    assert cart_poles[2] == pytest.approx(own)
    bodies = [
        decision_process_complexity(dimension=m, actions=D, n=1e6, **steps).bits
        for m, D in ((6, 2), (15, 4), (17, 6))
    ]
    assert bodies == pytest.approx([2.91e25, 7.61e58, 1.72e66], rel=3e-3)


def test_toy_tasks():
    bits = [inductive_bias_complexity(dimension=m, resolution=0.1, **TOY).bits for m in range(1, 7)]
    expected = [1.383e3, 1.188e5, 2.875e6, 4.823e7, 6.315e8, 6.814e9]
    assert bits == pytest.approx(expected, rel=5e-4)
    finer = [
        inductive_bias_complexity(dimension=3, resolution=one, **TOY).bits
        for one in (0.4, 0.2, 0.1, 0.05)
    ]
    assert finer == pytest.approx([3.536e4, 3.227e5, 2.875e6, 2.545e7], rel=5e-4)


@given(
    st.floats(1, 9),
    st.floats(0.5, 20),
    st.floats(0.02, 0.3),
    st.integers(1, 9),
    st.integers(1, 9),
    st.floats(1e-3, 0.2),
)
def test_the_formula_by_hand(m, R, delta, D, d, error):
    expected = by_hand(error, 20, m, R, d, delta * R, D, B=2.0)
    assume(expected > 0)
    found = inductive_bias_complexity(
        error=error,
        n=20,
        dimension=m,
        radius=R,
        resolution=delta * R,
        outputs=D,
        combinations=d,
        bound=2.0,
    )
    assert found.bits == pytest.approx(expected, rel=1e-8)
    assert found.log10_bits == pytest.approx(math.log10(expected), rel=1e-9)


@given(st.floats(2, 30), st.integers(2, 20), st.floats(0.02, 0.2))
def test_it_falls_with_rows_and_error_and_rises_with_dimension_and_detail(m, classes, delta):
    def bits(**changes):
        task = {
            "error": 0.01,
            "n": 50,
            "dimension": m,
            "radius": 1.0,
            "resolution": delta,
            **changes,
        }
        return classification_complexity(classes=classes, **task).log2_bits

    base = bits()
    assume(not math.isnan(base))
    assert bits(n=60) < base and bits(error=0.02) < base
    assert bits(dimension=m + 0.1) > base and bits(resolution=delta * 0.9) > base


def test_scale_of_the_data_does_not_matter():
    first, second = (
        classification_complexity(
            error=0.01, n=100, classes=3, dimension=4, radius=2 * one, resolution=0.1 * one
        ).log2_bits
        for one in (1.0, 1e6)
    )
    assert first == pytest.approx(second)


def test_where_the_bound_says_nothing_it_is_not_a_number_and_warns():
    with pytest.warns(RuntimeWarning, match="the training data fix every parameter"):
        found = inductive_bias_complexity(dimension=1, resolution=0.1, **{**TOY, "n": 1000})
    assert math.isnan(found.bits) and math.isnan(found.log10_bits)
    with pytest.warns(RuntimeWarning, match="the training data alone reach the error"):
        found = inductive_bias_complexity(dimension=3, resolution=0.1, **{**TOY, "error": 1e6})
    assert math.isnan(found.bits) and found.bits_each < 0


def test_numbers_beyond_a_float():
    task = {"error": 0.01, "n": 1e6, "classes": 10, "radius": 1.0}
    found = classification_complexity(dimension=700, resolution=1e-4, **task)
    assert math.isinf(found.bits) and 700 < found.log10_bits < 3000
    omniglot = meta_learning_complexity(
        error=0.01,
        n=7e40,
        ways=20,
        inner_dimension=22,
        outer_dimension=29,
        radius=49.4064,
        resolution=5.47723,
    )
    assert omniglot.log10_bits > published_complexity("ImageNet", 0.1).log10_bits
    # The authors' code for the same, with plain floats.
    M = 2 * math.pi * 49.4064 / 5.47723
    outputs = 2 * 20 * 19 * 2 ** log2_harmonic_count(22, M)
    plain = inductive_bias_complexity(
        error=0.01,
        n=7e40,
        dimension=29 + 19 * 22,
        radius=49.4064 * math.sqrt(20),
        resolution=5.47723,
        outputs=outputs,
        bound=math.sqrt(380),
    )
    assert omniglot.log2_bits == pytest.approx(plain.log2_bits)
    huge = complexity_from_logarithms(
        error=0.1, n=1e6, dimension=3, radius=1, resolution=0.01, log2_outputs=1e5
    )
    assert 1e5 < huge.log2_bits < math.inf


def test_a_union_of_tasks():
    first, second = PUBLISHED_TASKS["MNIST"], PUBLISHED_TASKS["SVHN"]
    pair = {name: (first[name], second[name]) for name in ("n", "classes", "dimension", "radius")}
    found = union_complexity(error=0.001, resolution=first["resolution"], **pair)
    expected = inductive_bias_complexity(
        error=0.001,
        n=60_000 * 73_257,
        dimension=33,
        radius=math.hypot(first["radius"], second["radius"]),
        resolution=first["resolution"],
        outputs=9,  # one less than the classes, as in the text
        combinations=100,
    )
    assert found.log2_bits == pytest.approx(expected.log2_bits)
    assert found.bits > published_complexity("MNIST", 0.001).bits


def test_distance_to_the_training_data():
    assert log_wasserstein(800, 3, 1.0) == pytest.approx(log_wasserstein(100, 3, 1.0) - math.log(2))
    assert log_wasserstein(100, 3, 5.0) == pytest.approx(log_wasserstein(100, 3, 1.0) + math.log(5))
    # Two spheres with the same points are as far as one with half of them.
    assert log_wasserstein(100, 3, 1.0, math.log(2)) == pytest.approx(log_wasserstein(50, 3, 1.0))


def test_free_parameters():
    assert InductiveBias.of(10.0, -1000.0, 4.0, 1.0).bits == pytest.approx(4096)
    np.testing.assert_allclose(InductiveBias.of(10.0, 9.0, 4.0, 1.0).bits, 2048)


@pytest.mark.parametrize("name", ["error", "n", "radius", "resolution", "outputs", "combinations"])
def test_bad_numbers(name):
    for value in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(InputError, match=f"{name}: expected a number in"):
            inductive_bias_complexity(**{**TOY, "dimension": 3, "resolution": 0.1, name: value})


def test_bad_tasks():
    task = {"error": 0.1, "n": 10, "dimension": 3, "radius": 1.0, "resolution": 0.1}
    with pytest.raises(InputError, match="classes: expected a number in"):
        classification_complexity(classes=1, **task)
    with pytest.raises(InputError, match="actions: expected a number in"):
        decision_process_complexity(error=0.1, n=10, dimension=3, resolution=0.1, actions=0)
    with pytest.raises(InputError, match="inner_dimension: expected a number in"):
        meta_learning_complexity(
            error=0.1, n=10, ways=5, inner_dimension=0, outer_dimension=3, radius=1, resolution=1
        )
