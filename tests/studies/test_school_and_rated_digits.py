"""The school's answers follow from its values; digits' ratings, styles and parts."""

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.studies.data.images import mnist_5k
from gradatim.studies.data.rated_digits import rated_digits
from gradatim.studies.data.school import NO, PADDING, THINGS_OF_A_SCHOOL, YES, school
from gradatim.studies.data.strokes import STROKE_FEATURES, stroke_features


@pytest.mark.parametrize("earlier", [False, True])
def test_the_school_is_consistent(earlier):
    train, test = school(3, 2000, earlier=earlier)
    everything = [
        row
        for part in (train, test)
        for row in zip(part.tokens.tolist(), part.answer.tolist(), part.level, strict=True)
    ]
    value = {tokens[1]: answer for tokens, answer, level in everything if level == 0}
    assert len(value) == THINGS_OF_A_SCHOOL
    assert min(value) == (THINGS_OF_A_SCHOOL if earlier else 0)
    zero = YES + 1
    for (a, b, _), answer, level in everything:
        if level == 0:
            assert a == PADDING
        elif level == 1:
            assert answer == (YES if value[a] > value[b] else NO)
        else:
            assert answer - zero == value[a] - zero + value[b] - zero


def test_what_is_held_out_is_not_taught():
    train, test = school(0, 3000)
    taught = set(map(tuple, train.tokens.tolist()))
    asked = test.take(np.flatnonzero(test.level > 0))
    assert not taught & set(map(tuple, asked.tokens.tolist()))
    assert len(set(map(tuple, test.tokens.tolist()))) == len(test)
    assert np.bincount(train.level).tolist() == [3000] * 3
    counts = np.unique(train.tokens[train.level == 0].numpy(), axis=0, return_counts=True)[1]
    assert counts.max() - counts.min() <= 1
    sums = (test.level == 2).sum()
    assert abs(sums - 0.2 * 3 * (90 + 132 + 182)) < 9
    assert set(zip(train.subject, train.stage, strict=True)) == {(s, s // 3) for s in range(9)}


@pytest.mark.parametrize(("per_level", "share"), [(0, 0.2), (10, 0.0), (10, 1.0)])
def test_bad_schools(per_level, share):
    with pytest.raises(InputError):
        school(0, per_level, held_out=share)


def test_strokes_of_lines():
    size = 15
    upright, leaning, high = np.zeros((3, size, size))
    upright[3:12, 7] = 1
    for step in range(9):
        leaning[11 - step, 3 + step] = 1
    high[1:10, 7] = 1
    found = dict(zip(STROKE_FEATURES, stroke_features([upright, leaning, high, 0 * high]).T,
                     strict=True))  # fmt: skip
    np.testing.assert_allclose(found["slant"], [0, 1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found["width"][:2], [0, np.std(range(9))], atol=1e-9)
    np.testing.assert_allclose(found["height"][0], np.std(range(9)))
    np.testing.assert_allclose(found["down"], [7, 7, 5, 0], atol=1e-9)
    np.testing.assert_allclose(found["weight"], [9 / 225] * 3 + [0])
    for bad in (upright, -np.ones((1, 2, 2))):
        with pytest.raises(InputError, match="images"):
            stroke_features(bad)


def test_the_parts_of_rated_digits():
    digits = rated_digits(1, size=200)
    parts = digits.before, digits.train, digits.validation["same"], digits.test["same"]
    images = torch.cat([part.column("x") for part in parts])
    distinct = len(np.unique(mnist_5k()[0].reshape(5000, -1), axis=0))
    assert distinct == 5000
    assert len(torch.unique(images, dim=0)) == len(images) == 500 + 200 + 500 + 1500
    assert len(set(digits.category.tolist())) == 10
    for difficulty in (digits.by_people, digits.by_models):
        assert difficulty.shape == (200,)
        assert 0 <= difficulty.min() < difficulty.max() <= 1
    assert np.corrcoef(digits.by_people, digits.by_models)[0, 1] > 0.4
    assert len(digits.test["scanned"]) + len(digits.validation["scanned"]) == 1797
