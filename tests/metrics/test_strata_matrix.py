import numpy as np
import pytest

from gradatim.core.errors import InputError
from gradatim.core.statistics import mean_interval
from gradatim.metrics.strata_matrix import accuracy_under_noise, easy_to_hard_matrix
from gradatim.selection.stratified_draws import stratified_draws

STRATA = {"easy": np.arange(40), "hard": np.arange(40, 80)}
LABELS = np.arange(80) % 4
DRAWS = stratified_draws(STRATA, 10, 3)


def majority(rows, labels, queries):
    """Predicts the stratum's parity: right on the stratum it was trained on only."""
    p = np.zeros((len(queries), 4))
    mine = (queries < 40) == (rows.mean() < 40)
    p[np.arange(len(queries)), np.where(mine, LABELS[queries], (LABELS[queries] + 1) % 4)] = 1
    return p


def test_the_matrix_of_a_known_model():
    found = easy_to_hard_matrix(majority, LABELS, DRAWS)
    assert found.train == ("easy", "hard", "all") and found.test == ("easy", "hard")
    for draw in found.accuracy:
        np.testing.assert_array_equal(draw[:2], np.eye(2))
    assert found.interval("easy", "easy").estimate == 1.0
    assert found.interval("all", "hard") == mean_interval(found.accuracy[:, 2, 1])
    with pytest.raises(InputError, match="stratum: expected one of easy, hard, all"):
        found.interval("medium", "hard")


def test_outcomes_are_known_where_they_were_tested():
    found = easy_to_hard_matrix(majority, LABELS, DRAWS)
    for number, draw in enumerate(DRAWS):
        tested = np.zeros(80, bool)
        tested[np.concatenate(list(draw.test.values()))] = True
        assert (~np.isnan(found.correct["easy"][:, number]) == tested).all()
        hits = found.correct["easy"][draw.test["easy"], number]
        assert hits.mean() == found.accuracy[number, 0, 0]
    assert set(found.tested["hard"]) <= set(STRATA["hard"])
    with pytest.raises(InputError, match="draws: expected at least one"):
        easy_to_hard_matrix(majority, LABELS, [])


def test_exactly_the_told_share_of_labels_is_wrong():
    seen = []

    def spy(rows, labels, queries):
        seen.append((labels != LABELS[rows]).mean())
        assert ((labels >= 0) & (labels < 4)).all()
        return np.eye(4)[LABELS[queries]]

    found = accuracy_under_noise(spy, LABELS, DRAWS, (0.0, 0.3, 1.0))
    assert found.shape == (3, 3) and (found == 1).all()
    assert seen == [0.0, 0.3, 1.0] * 3


def test_wrong_labels_are_among_the_choices_of_each():
    choices = np.where(np.arange(80) % 2, 4, 2)
    labels = np.zeros(80, int)

    def check(rows, drawn, queries):
        assert (drawn < choices[rows]).all() and (drawn > 0).all()
        return np.eye(4)[labels[queries]]

    accuracy_under_noise(check, labels, DRAWS, (1.0,), classes=choices)
