"""Per-example memory against a dictionary, and synchronisation in real processes."""

import copy
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributed, multiprocessing

from gradatim.core.errors import InputError
from gradatim.core.memory import ExampleMemory

SIZE = 7
indices = st.lists(st.integers(0, SIZE - 1), max_size=SIZE, unique=True)
steps = st.lists(
    st.tuples(st.sampled_from(["set", "average"]), indices, st.floats(0, 1), st.integers(0, 999)),
    max_size=12,
)


@given(steps, st.sampled_from([(), (3,), (2, 2)]), st.sampled_from([torch.int64, torch.int32]))
def test_memory_equals_a_dictionary(steps, shape, kind):
    memory = ExampleMemory(SIZE, shape, dtype=torch.float64, fill=0.25)
    rows = {i: np.full(shape, 0.25) for i in range(SIZE)}
    count = dict.fromkeys(range(SIZE), 0)
    for operation, index, momentum, seed in steps:
        values = np.random.default_rng(seed).normal(size=(len(index), *shape))
        place = torch.tensor(index, dtype=kind)
        if operation == "set":
            memory.set(place, torch.from_numpy(values))
        else:
            returned = memory.average(place, torch.from_numpy(values), momentum)
            values = np.array(
                [
                    momentum * rows[i] + (1 - momentum) * v
                    for i, v in zip(index, values, strict=True)
                ]
            ).reshape(values.shape)
            np.testing.assert_allclose(returned.numpy(), values, atol=1e-12)
        for i, row in zip(index, values, strict=True):
            rows[i] = row
            count[i] += 1
        np.testing.assert_allclose(memory.get(place).numpy(), values, atol=1e-12)
    np.testing.assert_allclose(memory.values.numpy(), np.stack(list(rows.values())), atol=1e-12)
    assert memory.count.tolist() == list(count.values())
    assert len(memory) == SIZE


def test_momentum_one_keeps_and_zero_replaces():
    memory = ExampleMemory(2, fill=0.1)
    before = memory.values.clone()
    memory.average(torch.tensor([0, 1]), torch.tensor([1e30, -7.0]), momentum=1.0)
    assert torch.equal(memory.values, before)
    memory.average(torch.tensor([1]), torch.tensor([0.3]), momentum=0.0)
    assert torch.equal(memory.values, torch.tensor([0.1, 0.3]))


def test_the_last_of_equal_indices_wins():
    memory = ExampleMemory(3)
    memory.set(torch.tensor([1, 2, 1]), torch.tensor([1.0, 2.0, 3.0]))
    assert memory.values.tolist() == [0.0, 3.0, 2.0]
    assert memory.count.tolist() == [0, 2, 1]


def test_memory_is_outside_autograd_and_shares_no_storage():
    memory = ExampleMemory(4, (2,))
    values = torch.rand(2, 2, requires_grad=True)
    index = torch.tensor([0, 3])
    memory.set(index, values)
    rows = memory.average(index, values * 2, momentum=0.5)
    assert not memory.values.requires_grad
    assert not rows.requires_grad
    kept = memory.values.clone()
    rows.zero_()
    memory.get(index).zero_()
    with torch.no_grad():
        values.zero_()
    index.zero_()
    assert torch.equal(memory.values, kept)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_averages_in_float32_and_returns_what_it_keeps(dtype):
    memory = ExampleMemory(2, (3,), dtype=dtype, fill=1.0)
    values = torch.tensor([[1.0009, 0.3, 3.0]])
    rows = memory.average(torch.tensor([1]), values, momentum=0.9)
    expected = (0.9 * torch.ones(1, 3) + 0.1 * values).to(dtype)
    assert rows.dtype == memory.values.dtype == dtype
    assert torch.equal(rows, memory.get(torch.tensor([1])))
    torch.testing.assert_close(rows, expected)
    wide = ExampleMemory(1, dtype=torch.float32)
    assert wide.average(torch.tensor([0]), torch.ones(1, dtype=dtype), 0.7).item() == pytest.approx(
        0.3
    )


def test_integer_memory_is_set_but_not_averaged():
    memory = ExampleMemory(2, dtype=torch.int64, fill=-1)
    memory.set(torch.tensor([1]), torch.tensor([5]))
    assert memory.values.tolist() == [-1, 5]
    with pytest.raises(InputError, match=r"floating point to average, got torch.int64"):
        memory.average(torch.tensor([1]), torch.tensor([5]), 0.5)


@pytest.mark.parametrize("index", [[3], [-1], [0, 99]])
def test_an_index_out_of_range_is_refused(index):
    memory = ExampleMemory(3)
    for call in (
        lambda place, values: memory.get(place),
        memory.set,
        lambda place, values: memory.average(place, values, 0.5),
    ):
        with pytest.raises(IndexError):
            call(torch.tensor(index), torch.ones(len(index)))
    assert memory.count.sum() == 0


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda m: m.get(torch.tensor([0.0])),
            "index: expected integers of shape .B., got torch.f",
        ),
        (lambda m: m.get(torch.tensor([True])), "index: .* got torch.bool"),
        (lambda m: m.get(torch.tensor(0)), r"index: .* of shape \[\]"),
        (lambda m: m.get(torch.zeros(1, 1).long()), r"index: .* of shape \[1, 1\]"),
        (lambda m: m.set(torch.tensor([0]), torch.ones(1)), r"shape \[1, 2\] .* got \[1\]"),
        (lambda m: m.set(torch.tensor([0]), torch.ones(2, 2)), r"shape \[1, 2\] .* got \[2, 2\]"),
        (lambda m: m.average(torch.tensor([0]), torch.ones(1, 2), 1.5), "momentum: .* got 1.5"),
        (lambda m: m.average(torch.tensor([0]), torch.ones(2), 0.5), r"shape \[1, 2\]"),
        (lambda m: m.position("a"), "made without ids"),
        (lambda m: ExampleMemory(2, ids=["a"]), "ids: expected 2 different names, got 1, of which"),
        (lambda m: ExampleMemory(2, ids=["a", "a"]), "got 2, of which 1 are different"),
        (lambda m: ExampleMemory(1, ids=["a"]).position("b"), "1 known ids, got 'b'"),
        (lambda m: ExampleMemory(-1), "sizes of at least 0, got -1"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(InputError, match=words):
        call(ExampleMemory(3, (2,)))


def test_positions_of_ids():
    memory = ExampleMemory(3, ids=["c", "a", "b"])
    assert [memory.position(name) for name in ("a", "b", "c")] == [1, 2, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_state_round_trip(dtype):
    first = ExampleMemory(5, (2,), dtype=dtype, ids=list("abcde"))
    first.set(torch.tensor([4, 0]), torch.arange(4).view(2, 2).to(dtype))
    state = copy.deepcopy(first.state_dict())
    second = ExampleMemory(5, (2,), dtype=dtype, ids=list("abcde"))
    second.load_state_dict(state)
    assert torch.equal(second.values, first.values)
    assert torch.equal(second.count, first.count)
    second.set(torch.tensor([1]), torch.ones(1, 2, dtype=dtype))
    assert torch.equal(state["values"], first.values)  # loading copied


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (ExampleMemory(4, (2,)), r"\[5, 2\] of torch.float32, got \[4, 2\] of torch.float32"),
        (ExampleMemory(5, (3,)), r"\[5, 2\] of torch.float32, got \[5, 3\] of torch.float32"),
        (ExampleMemory(5, (2,), dtype=torch.float16), r"got \[5, 2\] of torch.float16"),
        (ExampleMemory(5, (2,), ids=list("abced")), "same ids in the same order"),
    ],
)
def test_a_foreign_state_is_refused(other, words):
    memory = ExampleMemory(5, (2,), ids=list("abcde"))
    with pytest.raises(InputError, match=words):
        memory.load_state_dict(other.state_dict())
    with pytest.raises(InputError, match="a state with count, ids"):
        memory.load_state_dict({"values": memory.values})


def gather_unequal(tensor):
    """Concatenate over ranks with nothing but torch.distributed, first sizes unequal."""
    parts = [None] * distributed.get_world_size()
    distributed.all_gather_object(parts, tensor)
    return torch.cat(parts)


def work(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2
    )
    memory = ExampleMemory(6, (2,), dtype=torch.float32, fill=-1.0)
    index = torch.tensor([[0, 2, 5], [3, 2]][rank])
    memory.set(index, torch.full((len(index), 2), 10.0 * (rank + 1)))
    memory.average(index[:1], torch.zeros(1, 2), momentum=0.5)
    with pytest.raises(InputError, match="synchronize"):
        memory.state_dict()
    memory.synchronize(gather_unequal)
    first = copy.deepcopy(memory.state_dict())
    memory.synchronize(gather_unequal)  # nothing is pending: nothing changes
    again = copy.deepcopy(memory.state_dict())
    if rank == 0:  # the other rank has written nothing
        memory.set(torch.tensor([3]), torch.tensor([[1.0, 2.0]]))
    memory.synchronize(gather_unequal)
    torch.save((first, again, memory.state_dict()), f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_end_with_one_state(tmp_path):
    multiprocessing.spawn(work, args=(str(tmp_path),), nprocs=2)
    states = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    for one, other in zip(*states, strict=True):
        assert torch.equal(one["values"], other["values"])
        assert torch.equal(one["count"], other["count"])
    first, again, last = states[0]
    # rank 0 wrote 0 (set, then halved), 2, 5; rank 1 wrote 3 (set, then halved), 2, and wins at 2
    assert first["values"][:, 0].tolist() == [5.0, -1.0, 20.0, 10.0, -1.0, 10.0]
    assert first["count"].tolist() == [2, 0, 2, 2, 0, 1]
    assert torch.equal(first["values"], again["values"])
    assert torch.equal(first["count"], again["count"])
    assert last["values"].tolist()[3] == [1.0, 2.0]
    assert last["count"].tolist() == [2, 0, 2, 3, 0, 1]


def test_in_one_process_synchronize_has_nothing_to_do():
    memory = ExampleMemory(2)
    memory.set(torch.tensor([1]), torch.tensor([3.0]))
    memory.synchronize(lambda tensor: pytest.fail("nothing to gather"))
    assert memory.values.tolist() == [0.0, 3.0]


def seconds(size):
    memory, index = ExampleMemory(size, (10,)), torch.arange(128)
    values = torch.rand(128, 10)
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(50):
            memory.average(index, values, 0.7)
        best = min(best, time.perf_counter() - start)
    return best


def test_cost_of_an_average_does_not_grow_with_the_memory():
    assert seconds(200_000) < 10 * seconds(200)
