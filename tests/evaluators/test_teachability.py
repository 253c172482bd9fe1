"""The teachability of solutions, against scripted students and sums that are written out."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.evaluators.answers import AnswerVerifier
from gradatim.evaluators.teachability import (
    Exam,
    Lesson,
    TeachabilityReward,
    teachability_difficulty,
)


class Scripted:
    """Gives the answers of a table, one a lesson, exam and repeat; remembers what it saw."""

    def __init__(self, table):
        self.table, self.seen = np.asarray(table), []

    def answer(self, lessons, exams, seed):
        self.seen.append(([one.problem for one in lessons], [one.problem for one in exams], seed))
        return self.table.ravel().tolist()


class Executes:
    """Runs the lesson's program on the exam's numbers."""

    def answer(self, lessons, exams, seed):
        return [one.rationale(*exam.problem) for one, exam in zip(lessons, exams, strict=True)]


@st.composite
def tables(draw):
    """Answers 0, 1 or None of S students to E exams behind K lessons, R times."""
    sizes = [draw(st.integers(1, 3)) for _ in range(4)]
    values = draw(
        st.lists(
            st.sampled_from([0, 1, None]),
            min_size=int(np.prod(sizes)),
            max_size=int(np.prod(sizes)),
        )
    )
    return np.reshape(np.array(values, dtype=object), sizes)


@given(tables())
def test_scores_equal_sums_over_students_exams_and_repeats(table):
    _, count, exams, repeats = table.shape
    reward = TeachabilityReward([Scripted(own) for own in table], repeats=repeats)
    lessons = [Lesson(("lesson", k), k) for k in range(count)]
    asked = [Exam(("exam", e), e % 2) for e in range(exams)]
    scores = reward(lessons, asked)
    passed = np.zeros(table.shape)
    for place in np.ndindex(table.shape):
        passed[place] = table[place] is not None and table[place] == place[2] % 2
    assert np.allclose(scores, passed.sum(axis=(0, 2, 3)) / (len(table) * exams * repeats))
    assert np.allclose(reward.by_student(lessons, asked), passed.mean(axis=(2, 3)))
    assert ((scores >= 0) & (scores <= 1)).all()


def test_students_sit_all_exams_behind_each_lesson_with_draws_of_their_own():
    students = [Scripted(np.zeros(8)), Scripted(np.zeros(8))]
    reward = TeachabilityReward(students, repeats=2)
    reward([Lesson("x", 0), Lesson("y", 0)], [Exam("a", 1), Exam("b", 1)], seed=7)
    [(lessons, exams, one)], [(_, _, other)] = (student.seen for student in students)
    assert lessons == list("xxxxyyyy")
    assert exams == list("aabbaabb")
    assert one != other
    reward([Lesson("x", 0), Lesson("y", 0)], [Exam("a", 1), Exam("b", 1)], seed=8)
    assert len({seed for student in students for *_, seed in student.seen}) == 4


def test_another_student_does_not_change_what_the_first_draws():
    alone, first, second = (Scripted(np.zeros(3)) for _ in range(3))
    TeachabilityReward([alone])([Lesson("x", 0)], [Exam("a", 1)])
    TeachabilityReward([first, second])([Lesson("x", 0)], [Exam("a", 1)])
    assert alone.seen == first.seen


def test_perfect_students_and_all_exams_tell_programs_apart_by_what_they_do():
    """With exact execution a score is the share of exams on which two programs agree."""
    programs = [lambda x, y: x + y, lambda x, y: y + x, lambda x, y: x * y, lambda x, y: x - y]
    numbers = [(x, y) for x in range(5) for y in range(5)]
    reward = TeachabilityReward([Executes()], repeats=1)
    scores = reward(
        [Lesson("which?", program) for program in programs],
        [Exam(one, programs[0](*one)) for one in numbers],
    )
    expected = [np.mean([p(*one) == programs[0](*one) for one in numbers]) for p in programs]
    assert np.allclose(scores, expected)
    assert scores[0] == scores[1] == 1 > scores[2:].max()


def test_answers_may_be_compared_in_another_way():
    student = Scripted(np.array(["0.5", "1/2", "2", None], dtype=object))
    lessons, exams = [Lesson("x", k) for k in range(4)], [Exam("y", "1/2")]
    plain = TeachabilityReward([student], repeats=1)(lessons, exams)
    assert plain.tolist() == [0, 1, 0, 0]
    with AnswerVerifier() as verifier:
        read = TeachabilityReward([student], repeats=1, equal=verifier.equal)(lessons, exams)
    assert read.tolist() == [1, 1, 0, 0]
    order = []
    TeachabilityReward([student], repeats=1, equal=lambda *both: order.append(both))(lessons, exams)
    assert order == [("1/2", "0.5"), ("1/2", "1/2"), ("1/2", "2")]


@pytest.mark.parametrize("problem", ["2 + 2?", (2, 2), np.array([2, 2]), ["a", "b"], 7, object()])
def test_a_problem_is_no_exam_of_itself(problem):
    reward = TeachabilityReward([Scripted(np.zeros(2))], repeats=1)
    same = problem.copy() if hasattr(problem, "copy") else problem
    with pytest.raises(InputError, match="exam 1 is it"):
        reward([Lesson(problem, 0)], [Exam("other", 1), Exam(same, 1)])


@pytest.mark.parametrize("problem", ["2 + 2", (2, 2, 2), np.array([2, 3]), [["a"], "b"], None])
def test_other_problems_are_exams(problem):
    reward = TeachabilityReward([Scripted(np.ones(1))], repeats=1)
    for asked in ("2 + 2?", (2, 2), np.array([2, 2]), ["a", "b"]):
        assert reward([Lesson(asked, 0)], [Exam(problem, 1)]).tolist() == [1]


def test_no_lesson_has_no_score():
    reward = TeachabilityReward([Scripted([]), Scripted([])])
    assert reward([], [Exam("a", 1)]).shape == (0,)
    assert reward.by_student([], [Exam("a", 1)]).shape == (2, 0)


def test_bad_input():
    with pytest.raises(InputError, match="students: expected at least one"):
        TeachabilityReward([])
    with pytest.raises(InputError, match="repeats"):
        TeachabilityReward([Executes()], repeats=0)
    reward = TeachabilityReward([Scripted(np.zeros(3)), Scripted(np.zeros(2))])
    with pytest.raises(InputError, match="exams: expected at least one"):
        reward([Lesson("x", 0)], [])
    with pytest.raises(InputError, match="expected 3 answers of student 1, got 2"):
        reward([Lesson("x", 0)], [Exam("a", 1)])


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=5), max_size=5))
def test_difficulty_is_what_lacks_to_one(scores):
    found = teachability_difficulty(scores)
    assert np.allclose(found, [1 - sum(own) / len(own) for own in scores])
    assert ((found >= -1e-12) & (found <= 1)).all()


def test_a_problem_without_solutions_has_no_difficulty():
    with pytest.raises(InputError, match="problem 1"):
        teachability_difficulty([[1.0], []])
