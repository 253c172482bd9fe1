"""Primitives: aligned as counts by hand say, and renamed so that renaming back gives the data."""

import itertools
import re
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.mining.primitive_augmentation import PrimitiveAugmenter, align_primitives, augzero
from gradatim.studies.data.scan import scan_split

ALIGNMENT = {"walk": "WALK", "jump": "JUMP", "hop": "JUMP", "left": "L"}
words = st.lists(st.sampled_from([*ALIGNMENT, "twice", "and"]), min_size=1, max_size=5)
pairs = st.lists(words, min_size=1, max_size=4).map(
    lambda sources: [(s, [ALIGNMENT.get(w, "x") for w in s for _ in range(2)]) for s in sources]
)


def renamed_back(pair):
    return tuple([re.sub(r"#\d+", "", token) for token in side] for side in pair)


@given(pairs, st.integers(0, 3))
def test_every_variant_once_and_back_to_its_example(data, extra):
    made = PrimitiveAugmenter(ALIGNMENT, extra)(data)
    start = 0
    for source, target in data:
        count = (extra + 1) ** len({ALIGNMENT[w] for w in source if w in ALIGNMENT})
        own = made[start : start + count]
        start += count
        assert own[0] == (source, target)
        assert len({(tuple(a), tuple(b)) for a, b in own}) == count
        assert all(renamed_back(pair) == (source, target) for pair in own)
        for variant_source, variant_target in own:  # numbers agree on both sides
            for word, copy in zip(source, variant_source, strict=True):
                if word in ALIGNMENT:
                    assert ALIGNMENT[word] + copy[len(word) :] in variant_target
                else:
                    assert copy == word
    assert start == len(made)


@given(pairs, st.integers(0, 3), st.integers(0, 5), st.integers(0, 9))
def test_samples_are_different_variants(data, extra, per_example, seed):
    augment = PrimitiveAugmenter(ALIGNMENT, extra, "sample", per_example=per_example, seed=seed)
    made, every = augment(data), PrimitiveAugmenter(ALIGNMENT, extra)(data)
    assert made == augment(data)
    start = 0
    for source, target in data:
        total = (extra + 1) ** len({ALIGNMENT[w] for w in source if w in ALIGNMENT})
        own = made[start : start + min(total, per_example + 1)]
        start += len(own)
        assert own[0] == (source, target)
        assert all(pair in every for pair in own)
        assert len({tuple(a) for a, _ in own}) == len(own)
    assert start == len(made)


def test_samples_are_uniform_over_changed_variants():
    data = [(["walk", "left"], ["WALK", "L"])] * 3000
    made = PrimitiveAugmenter(ALIGNMENT, 1, "sample", per_example=1, seed=3)(data)[1::2]
    for variant in (["walk#1", "left"], ["walk", "left#1"], ["walk#1", "left#1"]):
        assert sum(source == variant for source, _ in made) == pytest.approx(1000, abs=110)


def test_scan_with_19_more_verbs():
    split = scan_split("jump", conjunctions=False)
    alignment = align_primitives(split.train, max_share=0.35)
    made = PrimitiveAugmenter(alignment, 19)(split.train)
    assert len(made) == 18 + 63 * 20 + 9 * 20
    lengths = Counter(len(target) for _, target in made if target[-1] == "I_WALK#7")
    assert lengths == Counter(len(target) for _, target in split.train if target[-1] == "I_WALK")


def test_a_word_whose_symbol_is_missing_stays():
    assert PrimitiveAugmenter(ALIGNMENT, 2)([(["walk", "left"], ["L"])]) == [
        (["walk", "left"], ["L"]), (["walk", "left#1"], ["L#1"]), (["walk", "left#2"], ["L#2"]),
    ]  # fmt: skip


def test_words_of_one_symbol_bear_one_number():
    made = PrimitiveAugmenter(ALIGNMENT, 1)([(["jump", "hop"], ["JUMP", "JUMP"])])
    assert made[1:] == [(["jump#1", "hop#1"], ["JUMP#1", "JUMP#1"])]


def by_hand(data, max_words, max_share):
    """The rules of alignment over all words and symbols, one by one."""
    vocabulary = {w for s, _ in data for w in s if any(c.isalnum() for c in w)}
    symbols = {v for _, t in data for v in t}
    sufficient = {
        (w, v)
        for w, v in itertools.product(vocabulary, symbols)
        if all(v in t for s, t in data if w in s)
    }
    found = {}
    for w in vocabulary:
        kept = []
        for v in symbols:
            rivals = [r for r in vocabulary if (r, v) in sufficient]
            necessary = [r for r in rivals if all(r in s for s, t in data if v in t)]
            few = len(rivals) <= max_words and (len(necessary) != 1 or w in necessary)
            if (w, v) in sufficient and (few or w == v):
                kept.append((v != w, sum(v in t for _, t in data), v))
        if kept and sum(w in s for s, _ in data) <= max_share * len(data):
            found[w] = min(kept)[2]
    return found


tokens = st.lists(st.sampled_from("abcd."), min_size=1, max_size=3)


@given(
    st.lists(st.tuples(tokens, st.lists(st.sampled_from("ABCa"), min_size=1, max_size=3)),
             min_size=1, max_size=8),
    st.integers(1, 3), st.sampled_from([0.4, 0.6, 1.0]),
)  # fmt: skip
def test_alignment_equals_the_rules_one_by_one(data, max_words, max_share):
    found = align_primitives(data, max_words=max_words, max_share=max_share)
    assert found == by_hand(data, max_words, max_share)
    assert list(found) == sorted(found)


@pytest.mark.parametrize(("conjunctions", "max_share"), [(True, 0.5), (False, 0.35)])
def test_the_primitives_of_scan_are_its_verbs(conjunctions, max_share):
    train = scan_split("jump", conjunctions=conjunctions).train
    assert align_primitives(train, max_share=max_share) == {
        verb: f"I_{verb.upper()}" for verb in ("jump", "look", "run", "walk")
    }


@given(pairs, st.integers(1, 4))
def test_augzero_copies_the_set_in_new_vocabularies(data, copies):
    made = augzero(data, copies)
    assert made[: len(data)] == data
    assert [renamed_back(pair) for pair in made] == data * copies
    for side in (0, 1):
        known = {token for pair in data for token in pair[side]}
        assert len({token for pair in made for token in pair[side]}) == copies * len(known)


def test_augzero_with_shared_tokens_renames_the_others():
    made = augzero([(["go", "twice"], ["GO", "GO"])], 3, shared_tokens={"twice"})
    assert made[2] == (["go#2", "twice"], ["GO#2", "GO#2"])


@pytest.mark.parametrize(
    ("call", "message"),
    [(lambda: align_primitives([("walk", ["W"])]), "row 0: expected a list of source tokens"),
     (lambda: align_primitives([(["a"],)]), "row 0"),
     (lambda: align_primitives([], max_words=0), "max_words"),
     (lambda: align_primitives([], max_share=2), "max_share"),
     (lambda: PrimitiveAugmenter({}, -1), "n_extra"),
     (lambda: PrimitiveAugmenter({}, 1, "all"), "mode"),
     (lambda: PrimitiveAugmenter({}, 1, per_example=-1), "per_example"),
     (lambda: PrimitiveAugmenter({"a": "A"}, 1)([(["a#1"], ["A"])]), "expected 'a#1' to be a new"),
     (lambda: augzero([(["a", "a#1"], ["A"])], 2), "expected 'a#1' to be a new"),
     (lambda: augzero([], 0), "copies")],
)  # fmt: skip
def test_wrong_arguments(call, message):
    with pytest.raises(InputError, match=message):
        call()
