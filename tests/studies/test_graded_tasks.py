import numpy as np
import pytest

from gradatim.studies.data import graded_tasks
from gradatim.studies.data.docstrings import PACKAGES, docstring_summaries


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADATIM_CACHE", str(tmp_path))


def test_summaries_do_not_tell_their_package_and_occur_once():
    found = docstring_summaries(40, most_files=15)
    assert found.classes == PACKAGES
    assert len(set(found.texts)) == len(found.texts) == len(found.labels)
    assert set(found.labels) == set(range(len(PACKAGES)))
    told = " ".join(found.texts).lower().split()
    assert not {"numpy", "np", "pandas", "scipy", "sklearn", "matplotlib", "networkx"} & set(told)
    assert all(5 <= len(text.split()) <= 60 for text in found.texts)
    again = docstring_summaries(40, most_files=15)
    assert again.texts == found.texts


def test_areas_of_exam_questions():
    task = graded_tasks.exam_areas("words")
    assert task.features.shape[0] == len(task.labels) == len(task.texts) == 1549
    assert set(task.labels) == set(range(task.choices))
    assert task.hard_exam.mean() == pytest.approx(0.34, abs=0.02)
    np.testing.assert_allclose(np.linalg.norm(task.features, axis=1).max(), 1.0, rtol=1e-5)
    assert (task.untrained == task.labels).mean() > 0.25


def test_images_have_components_that_tell_digits():
    task = graded_tasks.digit_images(10)
    means = np.array([task.features[task.labels == one].mean(axis=0) for one in range(10)])
    nearest = ((task.features[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == task.labels).mean() > 0.7
    assert task.untrained is None


def test_options_of_science_questions_by_words():
    task = graded_tasks.science_questions("words", 50)
    assert task.features.shape[:2] == (100, 4)
    assert task.hard_exam.tolist() == [False] * 50 + [True] * 50
    assert set(task.labels) == {0, 1, 2, 3}


def test_a_language_model_scores_options_as_when_they_are_read_whole(monkeypatch):
    import torch

    from gradatim.language.loading import LanguageModel
    from gradatim.networks.decoder import SmallDecoder

    class Tokenizer:
        def __call__(self, text):
            return type("Ids", (), {"input_ids": [ord(one) % 50 + 1 for one in text]})

    torch.manual_seed(0)
    model = SmallDecoder(60, hidden_size=16, layers=1, heads=2).eval()
    loaded = LanguageModel(model, Tokenizer(), "tiny")
    monkeypatch.setattr("gradatim.language.loading.load_language_model", lambda name: loaded)
    parts = ["Which?", "one", "two", "three", "four", "What now?", "a", "bb", "ccc", "d"]
    read = graded_tasks._read_options(parts, "tiny", version=1)
    assert read.shape == (2, 4, 17)
    for row, start in enumerate((0, 5)):
        prompt = Tokenizer()(f"Question: {parts[start]}\nAnswer:").input_ids
        for place in range(4):
            answer = Tokenizer()(f" {parts[start + 1 + place]}").input_ids
            ids = torch.tensor([[*prompt, *answer]])
            with torch.no_grad():
                hidden = model(ids, torch.ones_like(ids, dtype=torch.bool))
                logits = model.logits(hidden)[0].log_softmax(dim=1)
            wanted = sum(logits[len(prompt) + t - 1, token] for t, token in enumerate(answer))
            assert read[row, place, -1] == pytest.approx(float(wanted), abs=0.05)
            np.testing.assert_allclose(read[row, place, :-1], hidden[0, -1], atol=0.01)
