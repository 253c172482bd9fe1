"""Nested state goes to safetensors and JSON and comes back to the last bit."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError, StorageError
from gradatim.training.serialization import (
    flatten_state,
    load_state,
    load_tensors,
    restore_state,
    save_state,
    save_tensors,
)

LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.floats(allow_nan=False))
STATES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(), st.integers()), inner, max_size=3),
    ),
    max_leaves=12,
)


@given(STATES)
def test_round_trip(state):
    assert restore_state(*flatten_state(state)) == state


def test_round_trip_on_disk(tmp_path):
    shared = torch.randn(3)
    state = {
        "nan": math.nan,
        "inf": -math.inf,
        "tied": [shared, shared],
        "bf16": torch.ones(2, dtype=torch.bfloat16),
        "view": torch.arange(6).reshape(2, 3).T,
        "array": np.arange(3, dtype=np.uint32),
        "empty": torch.empty(0),
        "scalar": np.float64(0.1),
        7: (1, [2.5, None]),
    }
    save_state(state, tmp_path, "state")
    back = load_state(tmp_path, "state")
    assert math.isnan(back["nan"]) and back["inf"] == -math.inf and back[7] == (1, [2.5, None])
    assert torch.equal(back["tied"][0], shared) and torch.equal(back["tied"][1], shared)
    assert back["bf16"].dtype == torch.bfloat16 and torch.equal(back["view"], state["view"])
    assert back["array"].dtype == np.uint32 and back["scalar"] == np.float64(0.1)
    assert len(load_tensors(tmp_path / "state.safetensors")) == 5


def test_arrays_of_one_shape_stay_apart():
    state = {str(number): np.full(3, number) for number in range(50)}
    back = restore_state(*flatten_state(state))
    assert all((back[str(number)] == number).all() for number in range(50))


def test_keys_that_look_like_paths_stay_apart():
    state = {"a/b": torch.zeros(1), "a": {"b": torch.ones(1)}, 0: np.ones(1), "0": np.zeros(1)}
    back = restore_state(*flatten_state(state))
    assert back["a/b"] == 0 and back["a"]["b"] == 1 and back[0] == 1 and back["0"] == 0


@pytest.mark.parametrize("bad", [{"hook": len}, {"deep": [{"set": {1, 2}}]}, {(1, 2): 3}])
def test_what_cannot_be_kept_is_named(bad):
    with pytest.raises(InputError, match="state at"):
        flatten_state(bad)


@pytest.mark.parametrize("old", [True, False])
def test_pickles_are_not_opened(tmp_path, old):
    path = tmp_path / "weights.bin"
    torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=not old)
    with pytest.raises(InputError, match="got a pickle"):
        load_tensors(path)


@pytest.mark.parametrize("length", [640, 896, 1152, 1408])
def test_a_header_as_long_as_a_pickle_begins_is_read(tmp_path, length):
    path = tmp_path / "weights.safetensors"
    for padding in range(length):  # the header's length stands in the first bytes
        save_tensors({"w" * (1 + padding): torch.ones(2)}, path)
        start = path.read_bytes()[:2]
        if start == length.to_bytes(2, "little"):
            break
    assert start[:1] == b"\x80" and start[1] in (2, 3, 4, 5)
    (loaded,) = load_tensors(path).values()
    assert torch.equal(loaded, torch.ones(2))


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        load_tensors(tmp_path / "none.safetensors")
    (tmp_path / "state.json").write_text("{")
    with pytest.raises(StorageError, match="is not the JSON of a checkpoint"):
        load_state(tmp_path, "state")
