import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.mining.negative_choice import REASONS, NegativeRules, choose_negatives
from gradatim.mining.pair_scores import gather_rows, pair_scores, row_slices


def brute(scores, index, positives, positive_scores, rules, groups, vectors):
    """One query, candidate by candidate; returns positions, and why others were passed over."""
    own = [p for p in positives if p >= 0]
    bar = min(s for p, s in zip(positives, positive_scores, strict=True) if p >= 0)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = rules.duplicate_similarity
    skipped = dict.fromkeys(REASONS, 0)
    left = []
    for score, place in sorted(zip(scores, index, strict=True), key=lambda one: -one[0]):
        if place < 0:
            continue
        tests = {
            "positive": place in own,
            "equal_text": groups[place] in [groups[p] for p in own],
            "absolute_margin": rules.absolute_margin is not None
            and np.float32(score) + np.float32(rules.absolute_margin) > bar,
            "relative_margin": rules.relative_margin is not None
            and score > bar - abs(bar) * np.float32(rules.relative_margin),
            "max_score": rules.max_score is not None and score > np.float32(rules.max_score),
            "min_score": rules.min_score is not None and score < np.float32(rules.min_score),
            "near_positive": near is not None and any(unit[place] @ unit[p] >= near for p in own),
        }
        failed = [name for name, fails in tests.items() if fails]
        if failed:
            skipped[failed[0]] += 1
        else:
            left.append(place)
    end = len(left) if rules.range_max is None else rules.range_max
    skipped["range_min"] = len(left[: rules.range_min])
    skipped["range_max"] = len(left[end:])
    kept = []
    for place in left[rules.range_min : end]:
        twin = any(
            groups[place] == groups[other]
            or (near is not None and unit[place] @ unit[other] >= near)
            for other in kept
        )
        if twin:
            skipped["near_negative"] += 1
        else:
            kept.append(place)
    return kept, skipped


rule_sets = st.builds(
    NegativeRules,
    count=st.integers(1, 3),
    range_min=st.integers(0, 2),
    range_max=st.none() | st.integers(5, 9),
    absolute_margin=st.none() | st.sampled_from([0.0, 0.25, 1.0]),
    relative_margin=st.none() | st.sampled_from([0.0, 0.125, 0.5]),
    max_score=st.none() | st.sampled_from([0.5, -0.5]),
    min_score=st.none() | st.sampled_from([-1.0, 0.25]),
    duplicate_similarity=st.none() | st.sampled_from([0.9, 0.5]),
)


@settings(max_examples=150, deadline=None)
@given(rule_sets, st.integers(0, 10_000))
def test_tests_window_and_twins_against_one_query_at_a_time(rules, seed):
    random = np.random.default_rng(seed)
    queries, size, k = 4, 14, 10
    # scores are eighths: nothing hangs on rounding, and ties are common
    scores = random.integers(-12, 13, (queries, k)).astype(np.float32) / 8
    scores = -np.sort(-scores, axis=1)
    index = np.stack([random.permutation(size)[:k] for _ in range(queries)])
    index[0, -3:] = -1
    positives = np.stack([random.permutation(size)[:2] for _ in range(queries)])
    positives[1, 1] = -1
    positive_scores = random.integers(-4, 13, (queries, 2)).astype(np.float32) / 8
    groups = random.integers(0, 10, size)
    vectors = random.normal(size=(size, 3)).astype(np.float32)
    before = [one.copy() for one in (scores, index, positives, positive_scores)]
    chosen = choose_negatives(
        torch.from_numpy(scores),
        torch.from_numpy(index),
        torch.from_numpy(positives),
        torch.from_numpy(positive_scores),
        rules,
        groups=torch.from_numpy(groups),
        vectors=vectors,
    )
    for old, new in zip(before, (scores, index, positives, positive_scores), strict=True):
        np.testing.assert_array_equal(old, new)
    assert chosen.index.shape == chosen.scores.shape == chosen.rank.shape == (queries, rules.count)
    for q in range(queries):
        kept, skipped = brute(
            scores[q], index[q], positives[q], positive_scores[q], rules, groups, vectors
        )
        found = [int(one) for one in chosen.index[q] if one >= 0]
        assert found == kept[: rules.count]
        assert dict(zip(REASONS, chosen.skipped[q].tolist(), strict=True)) == skipped
        for place, score in zip(chosen.index[q].tolist(), chosen.scores[q].tolist(), strict=True):
            expected = scores[q][index[q].tolist().index(place)] if place >= 0 else -np.inf
            assert score == expected


def choice(rules, scores, **more):
    table = torch.tensor(scores, dtype=torch.float32)[None]
    index = torch.arange(1, table.shape[1] + 1)[None]
    return choose_negatives(table, index, torch.tensor([[0]]), torch.tensor([[5.0]]), rules, **more)


@pytest.mark.parametrize(("sampling", "expected"), [("random", 1 / 3), ("softmax", None)])
def test_sampling_has_the_probabilities_it_says(sampling, expected):
    scores = [2.0, 1.0, 0.0]
    rules = NegativeRules(count=1, sampling=sampling, temperature=2.0)
    generator = torch.Generator().manual_seed(0)
    repeated = torch.tensor(scores).expand(20_000, 3)
    index = torch.tensor([1, 2, 3]).expand(20_000, 3)
    positives = torch.zeros(20_000, 1, dtype=torch.int64)
    chosen = choose_negatives(
        repeated, index, positives, torch.full((20_000, 1), 5.0), rules, generator=generator
    )
    share = torch.bincount(chosen.index[:, 0], minlength=4)[1:] / 20_000
    wanted = torch.full((3,), expected) if expected else (torch.tensor(scores) / 2.0).softmax(0)
    assert (share - wanted).abs().max() < 0.015


@pytest.mark.parametrize("sampling", ["random", "softmax"])
def test_sampling_is_seeded_without_replacement_and_sorted(sampling):
    rules = NegativeRules(count=4, sampling=sampling, range_min=1)
    scores = np.linspace(0.9, 0.0, 12)
    one, two, other = (
        choice(rules, scores, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert one.index.tolist() == two.index.tolist() != other.index.tolist()
    assert len(set(one.index[0].tolist())) == 4 and 1 not in one.index
    assert (one.scores.diff() <= 0).all() and (one.rank.diff() > 0).all()


def test_the_query_itself_and_fewer_candidates_than_wanted():
    groups = torch.tensor([0, 7, 2, 3])
    chosen = choice(
        NegativeRules(count=5), [3.0, 2.0, 1.0], groups=groups, query_groups=torch.tensor([7])
    )
    assert chosen.index.tolist() == [[2, 3, -1, -1, -1]] and chosen.found.tolist() == [2]
    assert chosen.skipped[0, REASONS.index("equal_text")] == 1
    none = choice(NegativeRules(count=2, max_score=-9.0), [3.0, 2.0])
    assert none.index.tolist() == [[-1, -1]] and none.scores.isinf().all()


def test_a_positive_below_zero_keeps_its_margin():
    table = torch.tensor([[-0.5, -1.0, -1.5]])
    chosen = choose_negatives(
        table,
        torch.tensor([[1, 2, 3]]),
        torch.tensor([[0]]),
        torch.tensor([[-1.0]]),
        NegativeRules(count=3, relative_margin=0.25),
    )
    assert chosen.index.tolist() == [[3, -1, -1]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "negatives: expected a number in"),
        ({"range_min": -1}, "range_min"),
        ({"absolute_margin": -0.1}, "absolute_margin"),
        ({"relative_margin": float("nan")}, "relative_margin"),
        ({"max_score": float("inf")}, "max_score"),
        ({"sampling": "best"}, "sampling: expected one of top, random, softmax"),
        ({"temperature": 0.0}, "temperature"),
        ({"duplicate_similarity": 1.5}, "duplicate_similarity"),
        ({"count": 4, "range_max": 3}, "range_max: expected at least 4"),
    ],
)
def test_rules_outside_their_range(options, message):
    with pytest.raises(InputError, match=message):
        NegativeRules(**options)


def test_shapes_are_checked():
    one = torch.ones(2, 3)
    index, positives = torch.ones(2, 3, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.int64)
    rules = NegativeRules()
    for arguments in (
        (torch.ones(2), index, positives, torch.ones(2, 1)),
        (one, index[:, :2], positives, torch.ones(2, 1)),
        (one, index, positives[:1], torch.ones(1, 1)),
        (one, index, positives, torch.ones(2, 2)),
    ):
        with pytest.raises(InputError):
            choose_negatives(*arguments, rules)
    with pytest.raises(InputError, match="vectors: expected the documents' vectors"):
        choose_negatives(
            one, index, positives, torch.ones(2, 1), NegativeRules(duplicate_similarity=0.9)
        )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["cosine", "dot"]), st.booleans())
def test_scores_of_given_documents(seed, metric, as_array):
    random = np.random.default_rng(seed)
    queries, documents = random.normal(size=(5, 4)), random.normal(size=(9, 4))
    index = random.integers(-1, 9, (5, 3))
    one, two = (
        a.astype(np.float16) if as_array else torch.from_numpy(a) for a in (queries, documents)
    )
    found = pair_scores(one, two, torch.from_numpy(index), metric=metric).numpy()
    scores = queries @ documents.T
    if metric == "cosine":
        scores /= np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(documents, axis=1)
    wanted = np.where(index < 0, -np.inf, np.take_along_axis(scores, index.clip(0), 1))
    np.testing.assert_allclose(found, wanted, atol=2e-2 if as_array else 1e-5, rtol=1e-5)


def test_pairs_are_scored_in_parts_and_checked():
    assert [part.start for part in row_slices(5, 1 << 22)] == [0, 2, 4]
    vectors = torch.randn(40, 8)
    many = torch.arange(40).expand(30, 40)
    whole = pair_scores(vectors[:30], vectors, many, metric="dot")
    torch.testing.assert_close(whole, vectors[:30] @ vectors.T)
    assert gather_rows(vectors, torch.tensor([[3]]), unit=False)[0, 0].equal(vectors[3])
    with pytest.raises(InputError, match="positions from -1 to 39"):
        pair_scores(vectors, vectors, torch.full((40, 1), 40))
    with pytest.raises(InputError, match="expected 8 numbers a vector"):
        pair_scores(vectors, vectors[:, :4], many.T[:, :1])
