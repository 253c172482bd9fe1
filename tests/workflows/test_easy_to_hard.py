"""The easy-to-hard evaluation runs through, goes on where it was ended, and says what is wrong."""

import json

import numpy as np
import pytest

from gradatim.core.errors import InputError
from gradatim.language.loading import LanguageModel
from gradatim.language.problems import Problem
from gradatim.language.transformers_lm import TransformersLM
from gradatim.workflows.easy_to_hard import evaluate_easy_to_hard
from gradatim.workflows.easy_to_hard_candidates import Sampling
from gradatim.workflows.easy_to_hard_evaluators import StepStates, train_evaluators
from gradatim.workflows.easy_to_hard_run import split_problems
from gradatim.workflows.easy_to_hard_settings import EasyToHardSettings
from tests.language.tiny_models import character_tokenizer, tiny_model

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

SETTINGS = EasyToHardSettings(
    train_problems=12,
    test_per_level=4,
    sampling=Sampling(copies=4, longest=24, temperature=1.0),
    chat=False,
)


class EvenVerifier:
    """Right is every even number."""

    def matches(self, problem, answers):
        return np.array([answer is not None and answer[-1] in "02468" for answer in answers])


class ConstantVerifier:
    """All answers are right, or none."""

    def __init__(self, right):
        self.right = right

    def matches(self, problem, answers):
        return np.full(len(answers), self.right)


@pytest.fixture(scope="module")
def loaded():
    model = TransformersLM(tiny_model(initializer_range=0.3))
    return LanguageModel(model, character_tokenizer(), "tiny")


def problems(levels=(1, 2, 3, 4), each=10):
    return [
        Problem(f"{level}+{n}=?", str(level + n), level) for level in levels for n in range(each)
    ]


@pytest.fixture(scope="module")
def first(loaded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    told = []
    result = evaluate_easy_to_hard(
        loaded,
        problems(),
        easy=2,
        verifier=EvenVerifier(),
        settings=SETTINGS,
        folder=folder,
        progress=lambda *what: told.append(what),
    )
    return folder, result, told


def test_tables(first):
    _, result, told = first
    assert len(result.solutions) == 4 * 4 * 4
    assert set(result.solutions["part"]) == {"easy", "hard"}
    scores = result.solutions[["likelihood", "orm", "prm", "oprm"]]
    assert ((scores >= 0) & (scores <= 1)).all().all()
    assert (result.solutions["correct"] == [
        isinstance(a, str) and a[-1] in "02468" for a in result.solutions["answer"]
    ]).all()  # fmt: skip
    rules = set(result.by_part.accuracy["rule"])
    assert {"majority", "oracle", "weighted:prm", "best_of_n:oprm", "best_of_n:likelihood"} <= rules
    assert set(result.by_level.accuracy["level"]) == {"all", 1, 2, 3, 4}
    assert list(result.greedy["level"]) == ["all", "easy", "hard", "1", "2", "3", "4"]
    assert set(result.evaluators["evaluator"]) == {"likelihood", "orm", "prm", "oprm"}
    assert {what[0] for what in told} == {
        "sampling easy solutions",
        "sampling test solutions",
        "sampling likeliest solutions",
    }
    assert any("labelled by its solution's outcome" in note for note in result.notes)


def test_goes_on_without_sampling_again(first, loaded, monkeypatch):
    folder, result, _ = first

    def no_sampling(*_, **__):
        raise AssertionError("sampled again")

    monkeypatch.setattr("gradatim.workflows.easy_to_hard_candidates.sample", no_sampling)
    again = evaluate_easy_to_hard(
        loaded,
        problems(),
        easy=2,
        verifier=EvenVerifier(),
        settings=SETTINGS,
        folder=folder,
    )
    assert again.solutions.equals(result.solutions)
    assert again.by_part.accuracy.equals(result.by_part.accuracy)


def test_save_and_report(first, tmp_path):
    _, result, _ = first
    result.save(tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["settings"]["easy"] == 2 and "voting" in record["seconds"]
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page and "Easy and hard problems" in page
    assert (tmp_path / "by_level" / "accuracy.csv").exists()
    with pytest.raises(InputError, match="not overwritten"):
        result.save(tmp_path)
    result.save(tmp_path, overwrite=True)
    assert "Evaluators" in result._repr_html_()


def test_step_labels_by_continuation(loaded):
    settings = EasyToHardSettings(
        **{**vars(SETTINGS), "continuations": 2, "labelled": 1, "separator": "="}
    )
    result = evaluate_easy_to_hard(
        loaded, problems(), easy=2, verifier=EvenVerifier(), settings=settings
    )
    sizes = dict(
        zip(result.evaluators["evaluator"], result.evaluators["training_states"], strict=True)
    )
    assert sizes["prm"] > 0 and sizes["oprm"] == sizes["orm"] + sizes["prm"]
    assert "continuing steps" in result.seconds


def test_labelled_steps_that_are_all_alike():
    states = StepStates(np.ones((4, 3), np.float16), [[0, 1], [0, 1]], np.arange(2))
    correct = np.array([True, False])
    for labels, kind in (([[np.nan, 0.0], [0.0, np.nan]], "wrong"), ([[1.0, 1.0]] * 2, "right")):
        with pytest.raises(InputError, match=f"labelled steps are {kind}"):
            train_evaluators(states, correct, labels, aggregate="min", seed=0)


def test_split():
    train, test = split_problems(problems(each=5), 2, SETTINGS)
    assert {one.level for one in train} == {1, 2} and len(train) == 6
    assert len(test) == 2 + 2 + 4 + 4
    assert not {one.question for one in train} & {one.question for one in test}
    settings = EasyToHardSettings(**{**vars(SETTINGS), "exemplars": train[:2], "seed": 1})
    again = split_problems(problems(each=5), 2, settings)
    assert not {one.question for one in train[:2]} & {
        one.question for part in again for one in part
    }


def test_what_cannot_be_evaluated(loaded):
    def run(some, verifier=None, **changes):
        settings = EasyToHardSettings(**{**vars(SETTINGS), **changes})
        evaluate_easy_to_hard(loaded, some, easy=2, verifier=verifier, settings=settings)

    with pytest.raises(InputError, match="expected easy ones, of level 2 or lower"):
        run(problems((3, 4)))
    with pytest.raises(InputError, match="expected hard ones, of level 3 or higher"):
        run(problems((1, 2)))
    with pytest.raises(InputError, match="none of the 48 solutions of easy problems is right"):
        run(problems(), ConstantVerifier(False))
    with pytest.raises(InputError, match="all 48 solutions of easy problems are right"):
        run(problems(), ConstantVerifier(True))
    with pytest.raises(InputError, match="makes a prompt of"):
        run(problems(), overflow="error", sampling=Sampling(longest=60))
    with pytest.raises(InputError, match="easy training problems are too long"):
        run(problems(), sampling=Sampling(longest=60))
    with pytest.raises(InputError, match="aggregate"):
        run(problems(), aggregate="median")
    with pytest.raises(InputError, match="has no answer to compare with"):
        run([Problem(one.question, None, one.level) for one in problems()])
    with pytest.raises(InputError, match="hard: expected a level above easy=2"):
        evaluate_easy_to_hard(loaded, problems(), easy=2, hard=2)


def test_levels_between_easy_and_hard_are_in_no_part(loaded):
    result = evaluate_easy_to_hard(
        loaded, problems(), easy=2, hard=4, verifier=EvenVerifier(), settings=SETTINGS
    )
    assert set(result.solutions["part"]) == {"easy", "between", "hard"}
    assert set(result.by_part.accuracy["level"]) == {"all", "easy", "hard"}
