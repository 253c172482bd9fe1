"""The search for examples to show, against searches that are written out."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import f1_score

from gradatim.core.errors import InputError
from gradatim.recipes.iterative_teaching import (
    IterativeTeaching,
    accuracy,
    f1,
    swap_near_failures,
)

ROWS = np.arange(40)
PLACE = np.random.default_rng(0).random(40)
LABELS = (np.abs(PLACE - 0.5) < 0.2).astype(int)


def nearest(places, labels=LABELS):
    """A student that answers as the nearest example."""

    def predict(examples, rows):
        return labels[examples[np.abs(places[rows, None] - places[examples]).argmin(axis=1)]]

    return predict


TEACHER = nearest(PLACE)


def search(students=(TEACHER,), propose=None, **options):
    given_ = {"shown": 4, "beam": 2, "rounds": 3, "minibatch": 16, "measure": f1, **options}
    propose = propose or swap_near_failures(PLACE[:, None], LABELS)
    return IterativeTeaching(TEACHER, students, propose, **given_)


def test_the_best_set_never_becomes_worse_and_its_score_is_the_teachers():
    for seed in range(4):
        found = search(seed=seed).fit(ROWS, LABELS)
        assert len(found.best) == len(found.scores) == 4
        assert (np.diff(found.scores) >= 0).all()
        assert found.score == found.scores[-1]
        assert np.array_equal(found.examples, found.best[-1])
        for examples, score in zip(found.best, found.scores, strict=True):
            assert score == f1_score(LABELS, TEACHER(examples, ROWS))
            assert len(set(examples.tolist())) == 4


def test_the_search_finds_what_it_needs():
    """Four examples can settle an interval in the middle; few random sets do."""
    found = [search(rounds=8, beam=4, seed=seed).fit(ROWS, LABELS) for seed in range(5)]
    assert np.mean([one.score for one in found]) > np.mean([one.scores[0] for one in found]) + 0.05


def test_it_is_a_function_of_the_seed_and_leaves_its_arguments():
    rows, labels = ROWS.copy(), LABELS.copy()
    one, same, other = (search(seed=seed).fit(rows, labels) for seed in (1, 1, 2))
    assert all(map(np.array_equal, one.best, same.best))
    assert one.scores == same.scores
    assert not np.array_equal(one.best[0], other.best[0])
    assert np.array_equal(rows, ROWS)
    assert np.array_equal(labels, LABELS)


class Proposes:
    """Proposes given sets, one list a call; remembers what it was told."""

    def __init__(self, *sets):
        self.sets, self.told = list(sets), []

    def __call__(self, examples, failed, generator):
        self.told.append((examples.tolist(), failed.tolist()))
        return self.sets.pop(0) if self.sets else []


def test_proposals_are_led_by_what_any_student_fails_once_for_each():
    propose = Proposes()
    right, never = lambda _, rows: LABELS[rows], lambda _, rows: 1 - LABELS[rows]
    search([right, never, TEACHER], propose, rounds=1, beam=1, minibatch=40).fit(ROWS, LABELS)
    [(examples, failed)] = propose.told
    missed = ROWS[TEACHER(np.array(examples), ROWS) != LABELS]
    assert sorted(failed) == sorted([*ROWS.tolist(), *missed.tolist()])


def test_students_see_one_minibatch_a_round_for_all_sets_and_another_the_next():
    seen = []

    def student(examples, rows):
        seen.append(rows.tolist())
        return LABELS[rows]

    search([student], Proposes(), rounds=2, beam=2, minibatch=10).fit(ROWS, LABELS)
    assert seen[0] == seen[1]
    assert seen[2] == seen[3]
    assert seen[0] != seen[2]
    assert all(len(set(rows)) == 10 for rows in seen)


def test_students_do_not_score():
    """Whatever they answer, with given proposals the outcome is the same."""
    sets = [[[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8, 9, 10, 11]]]
    outcomes = [
        search([student], Proposes(*sets), beam=1).fit(ROWS, LABELS).scores
        for student in (TEACHER, lambda _, rows: 1 - LABELS[rows])
    ]
    assert outcomes[0] == outcomes[1]


@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 3))
def test_the_beam_keeps_the_best_of_all_that_was_ever_proposed(seed, beam, rounds):
    random = np.random.default_rng(seed)
    start = [random.permutation(ROWS)[:4] for _ in range(2)]
    proposed = []

    def propose(examples, failed, generator):
        new = [random.permutation(ROWS)[:4] for _ in range(2)]
        proposed.extend(new)
        return new

    found = search(propose=propose, beam=beam, rounds=rounds).fit(ROWS, LABELS, start=start)
    scores = [f1(LABELS, TEACHER(one, ROWS)) for one in [*start, *proposed]]
    assert found.score == max(scores)


def test_of_several_orders_of_a_set_the_best_is_kept():
    """Whoever reads examples in their order answers by it."""

    def first(examples, rows):
        return np.full(len(rows), LABELS[examples[0]])

    ones, zeros = np.flatnonzero(LABELS), np.flatnonzero(LABELS == 0)
    worse, better = [zeros[0], ones[0]], [ones[0], zeros[0]]
    recipe = IterativeTeaching(
        first, [first], Proposes([better]), shown=2, beam=1, rounds=1, measure=f1
    )
    found = recipe.fit(ROWS, LABELS, start=[worse])
    assert found.scores[0] == 0 < found.score
    assert found.examples.tolist() == better


def test_a_beam_holds_no_set_twice():
    told = Proposes([[3, 2, 1, 0], [0, 1, 2, 3], [1, 0, 3, 2]])
    search(propose=told, rounds=2, beam=3).fit(ROWS, LABELS, start=[[0, 1, 2, 3]])
    assert len(told.told) == 2
    assert sorted(told.told[1][0]) == [0, 1, 2, 3]


@pytest.mark.parametrize("start", [[[0, 1, 2, 3], [4, 5, 6, 7]], np.arange(8).reshape(2, 4)])
def test_given_sets_are_the_first(start):
    propose = Proposes()
    search(propose=propose, rounds=1).fit(ROWS, LABELS, start=start)
    assert sorted(one for one, _ in propose.told) == np.asarray(start).tolist()


def test_drawn_sets_are_balanced():
    labels = np.array([0] * 30 + [1] * 8 + [2] * 2)
    propose = Proposes()
    predict = nearest(PLACE, labels)
    for shown, counts in ((6, [2, 2, 2]), (12, [5, 5, 2])):
        recipe = IterativeTeaching(
            predict, [predict], propose, shown=shown, beam=3, rounds=1, measure=accuracy
        )
        recipe.fit(ROWS, labels)
        for examples, _ in propose.told:
            assert np.bincount(labels[examples]).tolist() == counts
        assert len(propose.told) == 3
        propose.told.clear()


def test_only_training_rows_are_shown_or_predicted():
    rows, asked = ROWS[10:30], []

    def student(examples, some):
        asked.append(np.concatenate([examples, some]))
        return TEACHER(examples, some)

    found = search([student]).fit(rows, LABELS)
    assert np.isin(np.concatenate([*asked, *found.best]), rows).all()


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=12))
def test_figures(rows):
    labels, predicted = np.array(rows).T
    hits = int((labels & predicted).sum())
    total = int(labels.sum() + predicted.sum())
    assert f1(labels, predicted) == pytest.approx(2 * hits / total if total else 0.0)
    assert accuracy(labels, predicted) == pytest.approx(np.mean([a == b for a, b in rows]))


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_swaps_put_a_failed_row_in_the_place_of_the_nearest_of_its_label(seed, proposals):
    random = np.random.default_rng(seed)
    space, classes = random.standard_normal((12, 2)), random.integers(0, 2, 12)
    examples, failed = random.permutation(12)[:4], random.integers(0, 12, 6)
    propose = swap_near_failures(space, classes, proposals=proposals)
    before = examples.copy()
    new = propose(examples, failed, np.random.default_rng(1))
    assert np.array_equal(examples, before)
    fresh = set(failed.tolist()) - set(examples.tolist())
    assert len(new) == (proposals if fresh else 0)
    for one in new:
        [place] = np.flatnonzero(one != examples)
        row = one[place]
        assert row in fresh
        rivals = [p for p in range(4) if classes[examples[p]] == classes[row]] or list(range(4))
        distance = [np.linalg.norm(space[examples[p]] - space[row]) for p in rivals]
        assert place == rivals[int(np.argmin(distance))]


def test_rows_that_more_students_fail_are_drawn_more_often():
    propose = swap_near_failures(PLACE[:, None], LABELS, proposals=3000)
    new = propose(np.arange(4), np.array([10, 10, 10, 20]), np.random.default_rng(0))
    share = np.mean([10 in one for one in new])
    assert abs(share - 0.75) < 0.04


def test_bad_input():
    with pytest.raises(InputError, match="students: expected at least one"):
        search(())
    for name in ("shown", "beam", "rounds", "minibatch"):
        with pytest.raises(InputError, match=name):
            search(**{name: 0})
    with pytest.raises(InputError, match="rows: expected at least 4, got 3"):
        search().fit(ROWS[:3], LABELS)
    with pytest.raises(InputError, match="start: expected sets of 4 different rows"):
        search().fit(ROWS, LABELS, start=[[0, 1, 2]])
    with pytest.raises(InputError, match="start: expected sets of 4 different rows"):
        search().fit(ROWS[:10], LABELS, start=[[0, 1, 2, 20]])
    with pytest.raises(InputError, match="propose: expected sets of 4 different rows"):
        search(propose=Proposes([[0, 1]])).fit(ROWS, LABELS)
    with pytest.raises(InputError, match="students: expected 16 predictions"):
        search([lambda *_: np.zeros(3)]).fit(ROWS, LABELS)
    with pytest.raises(InputError, match="proposals"):
        swap_near_failures(PLACE[:, None], LABELS, proposals=0)
    for features in (PLACE, PLACE[:9, None]):
        with pytest.raises(InputError, match=r"features: expected shape \[40, D\]"):
            swap_near_failures(features, LABELS)
