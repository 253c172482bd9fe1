"""The feature cache: keys, damage, and two processes at once."""

import copy
import multiprocessing
import pickle
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gradatim.core import cache as module
from gradatim.core.cache import FeatureCache, content_hash, model_hash
from gradatim.core.errors import InputError, StorageError

texts = st.lists(st.text(max_size=5), max_size=6)
arrays = hnp.arrays(
    st.sampled_from(["f4", "f8", "i8", "u1", "bool", "f2"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


@pytest.fixture
def cache(tmp_path):
    return FeatureCache(tmp_path / "cache")


class Count:
    """Computes lengths, and counts how often it is asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, content, model, *, scale=1.0):
        self.calls += 1
        return np.array([[len(text) * scale] for text in content])


@given(texts, texts)
def test_texts_have_one_hash_exactly_if_they_are_equal(first, second):
    assert (content_hash(first) == content_hash(second)) == (first == second)
    assert content_hash(tuple(first)) == content_hash(list(first))
    assert content_hash(np.array([*first, "x"], dtype=object)) == content_hash([*first, "x"])


@given(texts.filter(len), st.data())
def test_one_changed_character_changes_the_hash(content, data):
    row = data.draw(st.integers(0, len(content) - 1))
    place = data.draw(st.integers(0, len(content[row])))
    letter = data.draw(st.characters())
    changed = list(content)
    changed[row] = content[row][:place] + letter + content[row][place:]
    assert content_hash(changed) != content_hash(content)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["ab", "c"], ["a", "bc"]),
        (["a", "b"], ["b", "a"]),
        ([], [""]),
        (["a"], ["a", ""]),
        (["e\u0301"], ["\u00e9"]),
        (["\ud800"], ["\ud801"]),
        (["a\0"], ["a"]),
    ],
)
def test_texts_that_look_alike_differ(first, second):
    assert content_hash(first) != content_hash(second)


def test_long_lists_are_hashed_to_their_end():
    content = ["a"] * 70_000
    assert content_hash(content) != content_hash([*content[:-1], "b"])
    assert content_hash(content) != content_hash(content[:-1])


@given(arrays, st.data())
def test_one_changed_number_type_or_shape_changes_the_hash(array, data):
    same = np.asfortranarray(np.repeat(array[None], 2, axis=0))[1, ...]
    assert content_hash(same) == content_hash(array)
    assert content_hash(array.reshape(1, *array.shape)) != content_hash(array)
    assert content_hash(array.astype("c16")) != content_hash(array)
    if array.size:
        changed = array.copy()
        place = data.draw(st.integers(0, array.size - 1))
        raw = changed.reshape(-1)[place : place + 1].view(np.uint8)
        raw[0] ^= 1
        assert content_hash(changed) != content_hash(array)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.bool])
def test_tensors(dtype):
    tensor = torch.tensor([[0, 1, 1], [1, 0, 1]]).to(dtype)
    assert content_hash(tensor) == content_hash(tensor.T.contiguous().T)
    assert content_hash(tensor) != content_hash(tensor.T)
    changed = tensor.clone()
    changed[1, 1] = 1
    assert content_hash(tensor) != content_hash(changed)
    assert content_hash(torch.tensor(1, dtype=dtype)) != content_hash(torch.tensor(0, dtype=dtype))


TABLE = {"text": ["a", None, "ccc", "d"], "x": [1.0, 2.0, None, 4.0], "y": [[1], [], None, [2, 3]]}


def test_tables_are_hashed_by_what_they_say():
    table = pa.table(TABLE)
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert content_hash(chunked) == content_hash(table)
    assert content_hash(table.replace_schema_metadata({"a": "b"})) == content_hash(table)
    assert content_hash(pa.concat_tables([table, table]).slice(4)) == content_hash(table)
    others = [
        table.slice(0, 3),
        table.rename_columns(["text", "x", "z"]),
        table.select(["x", "text", "y"]),
        table.set_column(1, "x", pa.array([1.0, 2.0, None, 4.5])),
        table.set_column(1, "x", pa.array([1.0, 2.0, 0.0, 4.0])),
        table.set_column(1, "x", pa.array([1.0, 2.0, None, 4.0], pa.float32())),
        table.take([1, 0, 2, 3]),
    ]
    hashes = {content_hash(other) for other in [table, *others]}
    assert len(hashes) == len(others) + 1


def test_kinds_of_content_do_not_run_together():
    kinds = [np.array(["a"]), ["a"], pa.table({"a": ["a"]}), np.zeros(3), torch.zeros(3)]
    assert len({content_hash(kind) for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (["a", 3], "content: expected strings, got int at row 1"),
        (np.array(["a", None], dtype=object), "got NoneType at row 1"),
        ("abc", "content: expected a list .* got str"),
        ({"a": 1}, "content: .* got dict"),
        (torch.eye(2).to_sparse(), "expected a dense tensor"),
    ],
)
def test_other_content_is_refused(content, words):
    with pytest.raises(InputError, match=words):
        content_hash(content)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU())


def test_one_changed_weight_buffer_name_or_layer_changes_a_models_hash():
    hashes = {model_hash(network())}
    assert model_hash(copy.deepcopy(network()).train(False)) in hashes
    for name, tensor in [*network().named_parameters(), *network().named_buffers()]:
        for place in range(tensor.numel()):
            changed = network()
            values = dict([*changed.named_parameters(), *changed.named_buffers()])[name]
            with torch.no_grad():
                values.view(-1)[place] += 1
            hashes.add(model_hash(changed))
    count = 1 + 12 + 4 + 4 + 4 + 4 + 4 + 1
    assert len(hashes) == count
    other = network()
    other[2] = torch.nn.Tanh()
    hashes.add(model_hash(other))
    hashes.add(model_hash(torch.nn.Sequential(*network(), torch.nn.ReLU())))
    hashes.add(model_hash(network().bfloat16()))
    assert len(hashes) == count + 3


@pytest.mark.parametrize("register", ["register_parameter", "register_buffer"])
def test_the_names_of_a_models_tensors_count(register):
    hashes = set()
    for name in ("scale", "shift"):
        network = torch.nn.Module()
        getattr(network, register)(name, torch.nn.Parameter(torch.ones(2)))
        hashes.add(model_hash(network))
    assert len(hashes) == 2


def test_a_models_files_are_hashed_by_name_and_content(tmp_path, monkeypatch):
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    (folder / "sub" / "b.bin").write_bytes(b"x" * 100)
    first = model_hash(folder)
    assert model_hash(str(folder)) == first
    copied = tmp_path / "copy"
    copied.mkdir()
    (copied / "sub").mkdir()
    (copied / "a.json").write_text("{}")
    (copied / "sub" / "b.bin").write_bytes(b"x" * 100)
    assert model_hash(copied) == first
    (copied / "sub" / "b.bin").write_bytes(b"x" * 99 + b"y")
    second = model_hash(copied)
    (copied / "sub" / "b.bin").rename(copied / "sub" / "c.bin")
    assert len({first, second, model_hash(copied), model_hash(folder / "a.json")}) == 4
    monkeypatch.chdir(tmp_path)
    assert model_hash("model") == first
    assert model_hash("mode") != first
    with pytest.raises(InputError, match="nowhere does not exist"):
        model_hash(Path("nowhere"))
    with pytest.raises(InputError, match="expected a module, a path or a string, got int"):
        model_hash(3)


def test_computes_once_and_then_maps_the_file(cache):
    compute = Count()
    first = cache.get_or_compute(["a", "bb"], "m", compute, scale=2.0)
    second = cache.get_or_compute(["a", "bb"], "m", compute, scale=2.0)
    assert compute.calls == 1
    for array in (first, second):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        np.testing.assert_array_equal(array, [[2.0], [4.0]])
    again = FeatureCache(cache.folder).get_or_compute(["a", "bb"], "m", compute, scale=2.0)
    np.testing.assert_array_equal(again, first)
    assert compute.calls == 1


def test_content_model_and_each_setting_count(cache):
    compute = Count()
    for content, model, settings in [
        (["a"], "m", {}),
        (["b"], "m", {}),
        (["a"], "n", {}),
        (["a"], "m", {"scale": 1.0}),
        (["a"], "m", {"scale": 2.0}),
    ]:
        cache.get_or_compute(content, model, compute, **settings)
    assert compute.calls == 5

    def names(content, model, **settings):
        return np.array(sorted(settings))

    keep = {"x": {"b": [1, 2], "a": None}, "y": "1"}
    cache.get_or_compute(["a"], "m", names, **keep)
    files = len(list(cache.folder.iterdir()))
    cache.get_or_compute(["a"], "m", names, y="1", x={"a": None, "b": [1, 2]})
    assert len(list(cache.folder.iterdir())) == files
    cache.get_or_compute(["a"], "m", names, y=1, x={"a": None, "b": [1, 2]})
    assert len(list(cache.folder.iterdir())) == files + 1


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 4), np.float32),
        np.array(3.5),
        np.arange(6).reshape(2, 3).T,
        np.array(["é", "bb"]),
        np.ones((5, 2), np.float16)[::2],
        np.array([1 + 2j]),
    ],
)
def test_arrays_come_back_as_they_were(cache, array):
    for _ in range(2):
        found = cache.get_or_compute(["a"], "m", lambda content, model: array)
        np.testing.assert_array_equal(found, array)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert not found.flags.writeable
    assert array.flags.writeable


def entry(cache):
    (path,) = cache.folder.iterdir()
    return path


@pytest.mark.parametrize("keep", [0, 5, 100, -17, -16, -1])
def test_a_truncated_entry_is_computed_anew(cache, keep):
    compute = Count()
    cache.get_or_compute(["a", "bb"], "m", compute)
    whole = entry(cache).read_bytes()
    entry(cache).write_bytes(whole[:keep])
    found = cache.get_or_compute(["a", "bb"], "m", compute)
    np.testing.assert_array_equal(found, [[1.0], [2.0]])
    assert compute.calls == 2
    assert entry(cache).read_bytes() == whole


@given(st.integers(0, 159), st.integers(1, 255))
def test_any_changed_byte_is_noticed(tmp_path_factory, place, change):
    cache = FeatureCache(tmp_path_factory.mktemp("cache"))
    compute = Count()
    cache.get_or_compute(["a", "bb"], "m", compute)
    damaged = bytearray(entry(cache).read_bytes())
    damaged[place] ^= change
    entry(cache).write_bytes(damaged)
    found = cache.get_or_compute(["a", "bb"], "m", compute)
    np.testing.assert_array_equal(found, [[1.0], [2.0]])
    assert compute.calls == 2


def test_a_pickle_in_place_of_an_entry_is_not_read(cache):
    compute = Count()
    cache.get_or_compute(["a"], "m", compute)
    data = pickle.dumps([1, 2, 3])
    digest = module.xxhash.xxh3_128(data).digest()
    entry(cache).write_bytes(data + digest)
    np.testing.assert_array_equal(cache.get_or_compute(["a"], "m", compute), [[1.0]])
    assert compute.calls == 2


def test_an_entry_is_plain_npy_to_others(cache):
    cache.get_or_compute(["abc"], "m", Count())
    np.testing.assert_array_equal(np.load(entry(cache)), [[3.0]])


def slow_square(content, model):
    return np.stack([content] * 50) ** 2


def work(folder, barrier, queue):
    cache = FeatureCache(folder)
    content = np.arange(20_000.0)
    barrier.wait(timeout=60)
    for _ in range(5):
        found = cache.get_or_compute(content, "square", slow_square)
        queue.put(bool((found == content**2).all()) and found.shape == (50, 20_000))
        cache.clear()


def test_two_processes_at_once_do_no_harm(tmp_path):
    context = multiprocessing.get_context("spawn")
    barrier, queue = context.Barrier(2), context.Queue()
    workers = [context.Process(target=work, args=(tmp_path, barrier, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert all(queue.get(timeout=60) for _ in range(10))
    for worker in workers:
        worker.join(timeout=60)
        assert worker.exitcode == 0
    assert list(tmp_path.iterdir()) == []


def test_size_and_clear_touch_only_entries(cache):
    assert cache.size() == 0
    cache.clear()
    for text in ("a", "b"):
        cache.get_or_compute([text], "m", Count())
    assert cache.size() == sum(path.stat().st_size for path in cache.folder.iterdir())
    (cache.folder / "mine.npy").write_bytes(b"keep")
    cache.clear()
    assert cache.size() == 0
    assert [path.name for path in cache.folder.iterdir()] == ["mine.npy"]


def test_a_full_disk_costs_the_entry_and_not_the_features(cache, monkeypatch):
    def full(path, features):
        raise StorageError(f"{path}: writing failed: the disk is full")

    monkeypatch.setattr(module, "_store", full)
    with pytest.warns(UserWarning, match="features are not kept: .*the disk is full"):
        found = cache.get_or_compute(["a"], "m", Count())
    np.testing.assert_array_equal(found, [[1.0]])
    assert not found.flags.writeable


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="features are not kept"):
        FeatureCache(tmp_path / "file").get_or_compute(["a"], "m", Count())


@pytest.mark.parametrize(
    ("compute", "settings", "words"),
    [
        (lambda c, m: [1, 2], {}, "compute: expected a numpy array .* got list"),
        (lambda c, m: np.array([None]), {}, "compute: .* got object"),
        (lambda c, m, s: np.zeros(1), {"s": {1, 2}}, "s: expected a JSON value as a setting"),
        (lambda c, m, s: np.zeros(1), {"s": np.float32(1)}, "s: expected a JSON value"),
    ],
)
def test_bad_input_is_named(cache, compute, settings, words):
    with pytest.raises(InputError, match=words):
        cache.get_or_compute(["a"], "m", compute, **settings)


def test_where_the_cache_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADATIM_CACHE", str(tmp_path))
    assert FeatureCache().folder == tmp_path / "features"
    assert FeatureCache(tmp_path / "mine").folder == tmp_path / "mine"
    monkeypatch.delenv("GRADATIM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "gradatim" in FeatureCache().folder.parts
