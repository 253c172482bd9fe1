import json

import numpy as np
import pyarrow as pa
import pytest

from gradatim.core.errors import InputError, StorageError
from gradatim.core.search import top_k
from gradatim.core.vector_store import VectorStore

TEXTS = [f"text {i} " + "x" * (i % 7) for i in range(23)]


class Encoder:
    """Counts what it encodes, and can be killed."""

    def __init__(self, dies_after=None):
        self.seen, self.dies_after = [], dies_after

    def __call__(self, texts):
        if self.dies_after is not None and len(self.seen) >= self.dies_after:
            raise KeyboardInterrupt
        self.seen += texts
        return np.array([[len(text), hash(text) % 97, 1.0] for text in texts])


@pytest.fixture
def store(tmp_path):
    return VectorStore(tmp_path / "vectors")


def load(store, encode, texts=TEXTS, **more):
    return store.get_or_encode(texts, encode, **({"model": "m", "block": 5} | more))


def test_vectors_are_encoded_once_and_mapped(store):
    encode, told = Encoder(), []
    first = load(store, encode, progress=lambda done, size: told.append((done, size)))
    assert first.encoded == 23 and told[-1] == (23, 23) and [d for d, _ in told][:2] == [5, 10]
    assert first.array.dtype == np.float16 and first.array.shape == (23, 3)
    np.testing.assert_array_equal(first.array, Encoder()(TEXTS).astype(np.float16))
    again = load(store, encode)
    assert again.encoded == 0 and len(encode.seen) == 23 and isinstance(again.array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        again.array[0, 0] = 1
    assert load(store, encode, texts=pa.array(TEXTS, pa.large_string())).encoded == 0
    assert top_k(again.array[:2], again.array, 1, metric="cosine").index.shape == (2, 1)
    assert store.size() > 0
    store.clear()
    assert load(store, encode).encoded == 23


@pytest.mark.parametrize(
    "change", [{"model": "n"}, {"prompt": "query: "}, {"dtype": "float32"}, {"texts": TEXTS[::-1]}]
)
def test_another_key_is_encoded_anew(store, change):
    load(store, Encoder())
    assert load(store, Encoder(), **change).encoded == 23
    assert load(store, Encoder()).encoded == 0


def test_a_kill_costs_one_block_at_most(store):
    with pytest.raises(KeyboardInterrupt):
        load(store, Encoder(dies_after=12))
    encode = Encoder()
    found = load(store, encode)
    assert encode.seen == TEXTS[15:] and found.encoded == 8 and found.damaged == 0
    np.testing.assert_array_equal(found.array, Encoder()(TEXTS).astype(np.float16))


def test_a_damaged_block_is_told_and_encoded_anew(store):
    path = load(store, Encoder()).path
    whole = path.read_bytes()
    at = len(whole) - 3 * 2 * 10  # in the last block but one
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    encode = Encoder()
    found = load(store, encode)
    assert found.damaged == 5 and found.encoded == 5 and encode.seen == TEXTS[10:15]
    assert path.read_bytes() == whole


@pytest.mark.parametrize("fault", ["cut", "marks", "gone", "other"])
def test_files_that_are_no_good_are_made_anew(store, fault):
    path = load(store, Encoder()).path
    marks = path.with_suffix(".blocks.json")
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    elif fault == "marks":
        marks.write_text(json.dumps({"checksums": [1]}))
    elif fault == "gone":
        path.unlink()
    else:
        np.save(path, np.ones((23, 3), dtype=np.float32))
    found = load(store, Encoder())
    assert found.encoded == 23
    np.testing.assert_array_equal(found.array, Encoder()(TEXTS).astype(np.float16))
    assert load(store, Encoder()).encoded == 0


def bad(value, row=13):
    def encode(texts):
        vectors = np.ones((len(texts), 2))
        for place, text in enumerate(texts):
            if text == TEXTS[row]:
                vectors[place, 1] = value
        return vectors

    return encode


def test_what_cannot_be_stored_is_named(store):
    for value in (np.nan, np.inf):
        with pytest.raises(InputError, match=r"row 13: expected finite numbers, got nan or inf"):
            load(store, bad(value))
    with pytest.raises(InputError, match=r"row 13: .* got up to 1e\+06, too large for float16"):
        load(store, bad(1e6))
    assert load(store, bad(1e6), dtype="float32").array.max() == 1e6
    with pytest.raises(InputError, match=r"encode: expected shape \[5, D\], got \[5\]"):
        load(store, lambda texts: np.ones(len(texts)))
    with pytest.raises(InputError, match="encode: expected vectors with numbers"):
        load(store, lambda texts: np.ones((len(texts), 0)), model="none")
    widths = iter([2, 3])
    with pytest.raises(InputError, match="vectors of 2 numbers as before, got 3"):
        load(store, lambda texts: np.ones((len(texts), next(widths))), model="widths")
    with pytest.raises(InputError, match="texts: expected at least one"):
        load(store, Encoder(), texts=[])
    with pytest.raises(InputError, match="dtype"):
        load(store, Encoder(), dtype="float64")
    with pytest.raises(InputError, match="got NoneType at row 1"):
        load(store, Encoder(), texts=pa.array(["a", None]))


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(StorageError):
        load(VectorStore(tmp_path / "f"), Encoder())
