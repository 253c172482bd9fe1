import numpy as np
from scipy.stats import spearmanr

from gradatim.studies.data.responses import KINDS, digit_responses


def test_classifiers_read_digits_that_they_were_not_trained_on():
    data = digit_responses(0, subjects=20, items=300)
    assert data.correct.shape == (20, 300) and set(np.unique(data.correct)) == {0.0, 1.0}
    assert data.images.shape == (300, 196) and 0 <= data.images.min() < data.images.max() <= 1
    assert data.kinds == KINDS * 2
    assert data.sizes.min() >= 20 and data.sizes.max() <= 1500
    accuracy = data.correct.mean(axis=1)
    assert accuracy.min() > 0.12 and np.ptp(accuracy) > 0.2
    assert spearmanr(accuracy, data.sizes).statistic > 0.5


def test_responses_are_those_of_the_seed():
    first, again, other = (digit_responses(seed, 10, 200).correct for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
