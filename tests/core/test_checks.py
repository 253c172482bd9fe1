"""Errors name the argument, what was expected and what came."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core import checks
from gradatim.core.errors import GradatimError, InputError, MissingPackageError, nearest_names
from gradatim.core.lazy import require
from gradatim.core.seeds import derive_seed, numpy_generator, seed_everything, torch_generator


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2, "C"), r"x: expected shape \[2, C\], got \[4, 3\]"),
        (("B",), r"x: expected shape \[B\], got \[4, 3\]"),
        (("N", "N"), r"x: expected shape \[N, N\], got \[4, 3\]"),
        (("B", "C", "D"), r"got \[4, 3\]"),
    ],
)
def test_shapes(sizes, message):
    with pytest.raises(InputError, match=message):
        checks.check_shape("x", torch.zeros(4, 3), *sizes)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, 1.1])
def test_ranges_refuse_what_is_outside_or_not_finite(value):
    with pytest.raises(InputError, match=r"rate: expected a number in \[0, 1\], got"):
        checks.check_range("rate", value, 0, 1)


def test_ranges_tell_their_ends():
    with pytest.raises(InputError, match=r"in \(0, 1\), got 0"):
        checks.check_range("rate", 0, 0, 1, open_low=True, open_high=True)
    with pytest.raises(InputError, match=r"in \[1, inf\), got 0"):
        checks.check_range("epochs", 0, 1)


@pytest.mark.parametrize("make", [list, np.array, torch.tensor])
def test_finite_numbers(make):
    checks.check_finite("x", make([1.0, 2.0]))
    with pytest.raises(
        InputError, match=r"x: expected finite numbers, got nan at row 1 \(2 of 3\)"
    ):
        checks.check_finite("x", make([1.0, math.nan, math.inf]))


def test_large_float64_numbers_are_finite():
    checks.check_finite("x", torch.tensor([1e300], dtype=torch.float64))


def test_long_choices_suggest_the_nearest():
    with pytest.raises(InputError, match=r"got 'alph' Did you mean alpha\?"):
        checks.check_choice("kind", "alph", ["alpha", *(f"z{i}" for i in range(9))])


def test_lengths():
    with pytest.raises(InputError, match="but labels has 1, scores has 2"):
        checks.check_same_length(labels=[0], scores=[0, 1])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_reductions(values):
    tensor = torch.tensor(values, dtype=torch.float64)
    assert checks.reduce(tensor, "none") is tensor
    torch.testing.assert_close(checks.reduce(tensor, "mean") * len(values), tensor.sum())
    assert checks.reduce(tensor, "sum") == tensor.sum()


def test_missing_packages_say_how_to_install_them():
    with pytest.raises(
        MissingPackageError, match=r"to mine .* pip install 'gradatim\[retrieval\]'"
    ):
        require("no_such_package.inner", extra="retrieval", why="to mine negatives")
    with pytest.raises(ModuleNotFoundError):
        require("gradatim.no_such_module")


def test_all_errors_have_one_base():
    assert issubclass(InputError, GradatimError) and issubclass(InputError, ValueError)
    assert nearest_names("zzz", ["alpha"]) == ""


def test_seeds_are_the_same_on_every_machine():
    assert derive_seed(0, "epoch", 3) == 928185087805610579
    assert len({derive_seed(s, k) for s in range(20) for k in range(20)}) == 400


def test_generators_depend_on_their_keys_alone():
    torch.manual_seed(0)
    first = torch.rand(1, generator=torch_generator(4, "a"))
    torch.manual_seed(99)
    assert torch.equal(first, torch.rand(1, generator=torch_generator(4, "a")))
    assert numpy_generator(4, "a").random() != numpy_generator(4, "b").random()


def test_seeding_everything_repeats_foreign_draws():
    draws = []
    for _ in range(2):
        seed_everything(7)
        draws.append((float(torch.rand(1)), float(np.random.rand())))  # noqa: NPY002
    assert draws[0] == draws[1]


def test_validation_needs_no_torch():
    code = "import sys, gradatim.core.checks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
