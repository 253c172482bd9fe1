"""Students that are language models: what they are shown, what they draw, what it is worth."""

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.evaluators import language_students
from gradatim.evaluators.language_students import InContextStudent, TeachingEvaluator
from gradatim.evaluators.teachability import Exam, Lesson, TeachabilityReward
from gradatim.language.loading import LanguageModel
from gradatim.language.problems import Problem
from gradatim.language.sampling import Responses, as_responses
from gradatim.language.transformers_lm import TransformersLM
from gradatim.recipes.iterative_dpo import IterativeDPO
from gradatim.recipes.policy_improvement import Run, Sampling
from tests.language.tiny_models import character_tokenizer, tiny_model

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

CHAT = (
    "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}#{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


def loaded(context=512, tokenizer=None):
    model = tiny_model(initializer_range=0.3, max_position_embeddings=context)
    return LanguageModel(TransformersLM(model), tokenizer or character_tokenizer(), "tiny")


def chat_tokenizer():
    tokenizer = character_tokenizer()
    tokenizer = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<end>")
    tokenizer.chat_template = CHAT
    return tokenizer


class Script:
    """In the place of ``sample``: responses that name their prompt and copy, and what was asked."""

    def __init__(self, monkeypatch, respond=None):
        self.calls = []
        self.respond = respond or (lambda prompt, copy: f"{prompt}={copy}")
        monkeypatch.setattr(language_students, "sample", self)

    def __call__(self, model, prompts, *, copies, **options):
        tokenizer = character_tokenizer()
        texts = [tokenizer.decode(prompt) for prompt in prompts]
        self.calls.append({"prompts": texts, "copies": copies, **options})
        given = [self.respond(text, copy) for text in texts for copy in range(copies)]
        return as_responses([tokenizer(text)["input_ids"] for text in given])

    @property
    def prompts(self):
        return [prompt for call in self.calls for prompt in call["prompts"]]


def test_the_lesson_is_the_last_worked_example(monkeypatch):
    script = Script(monkeypatch)
    student = InContextStudent(
        loaded(),
        longest=7,
        temperature=0.5,
        top_k=4,
        exemplars=[Problem("0+1?", None, 0, "it is 1.")],
    )
    student.answer([Lesson("1+2?", "count on", 3)], [Exam("2+2?", "4")], seed=5)
    shown = "Problem: 0+1?\nSolution: it is 1.\n\nProblem: 1+2?\nSolution: count on"
    # the tokenizer of the tests knows no capital T
    assert script.prompts == [f"{shown}\n<unk>he answer is 3.\n\nProblem: 2+2?\nSolution:"]
    [call] = script.calls
    assert (call["longest"], call["temperature"], call["top_k"]) == (7, 0.5, 4)
    assert list(call["stop"]) == [character_tokenizer().eos_token_id]


@pytest.mark.parametrize(
    ("rationale", "answer", "told"),
    [
        (" so it is 3 ", None, "so it is 3"),
        ("the answer is 3.", "5", "the answer is 3."),
        ("12 #### 3", "5", "12 #### 3"),
        ("", "5", "\n<unk>he answer is 5."),
    ],
)
def test_an_answer_is_told_once(monkeypatch, rationale, answer, told):
    script = Script(monkeypatch)
    InContextStudent(loaded()).answer([Lesson("x?", rationale, answer)], [Exam("y?", "1")], 0)
    assert script.prompts == [f"Problem: x?\nSolution: {told}\n\nProblem: y?\nSolution:"]


def test_chat_models_see_lessons_as_earlier_turns(monkeypatch):
    script = Script(monkeypatch)
    student = InContextStudent(loaded(tokenizer=chat_tokenizer()), instruction="say it.")
    student.answer([Lesson("x?", "it is 1.")], [Exam("y?", "2")], 0)
    assert script.prompts == ["<u>say it.\n\nx?#<a>it is 1.#<u>say it.\n\ny?#<a>"]


pairs = st.lists(st.tuples(*[st.sampled_from("abc")] * 3), max_size=12)


@given(pairs)
def test_every_answer_stands_at_its_place_and_no_draw_is_used_twice(sat):
    with pytest.MonkeyPatch.context() as monkeypatch:
        script = Script(monkeypatch)
        student = InContextStudent(loaded(), read=lambda text: text)
        lessons = [Lesson(asked, told) for asked, told, _ in sat]
        found = student.answer(lessons, [Exam(exam, "?") for _, _, exam in sat], 0)
    expected = [
        f"Problem: {asked}\nSolution: {told}\n\nProblem: {exam}\nSolution:"
        for asked, told, exam in sat
    ]
    # what goes on to another problem is cut, and the prompts themselves hold such a problem
    assert [text.split("=")[0] for text in found] == [one.split("\n\nP")[0] for one in expected]
    assert sorted(script.prompts) == sorted(set(expected))
    times = {prompt: call["copies"] for call in script.calls for prompt in call["prompts"]}
    assert times == {prompt: expected.count(prompt) for prompt in expected}
    seeds = [call["seed"] for call in script.calls]
    assert len(set(seeds)) == len(seeds)


def test_copies_of_a_pair_get_its_own_draws_in_order(monkeypatch):
    Script(monkeypatch, lambda prompt, copy: f"{prompt.count('b')}{copy}")
    student = InContextStudent(loaded(), read=lambda text: text)
    lessons = [Lesson("x?", told) for told in ("a", "b", "a", "bb", "b", "a")]
    found = student.answer(lessons, [Exam("y?", "1")] * 6, 0)
    # "Problem" holds a b too, twice a prompt
    assert found == ["20", "30", "21", "40", "31", "22"]


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("2+2 is 4", "4"),
        ("the answer is 5. 7 was said", "5"),
        ("it is 4\n\nProblem: what is 9", "4"),
        ("no number", None),
        ("", None),
    ],
)
def test_answers_are_read_from_what_stands_before_another_problem(monkeypatch, response, answer):
    Script(monkeypatch, lambda *_: response)
    assert InContextStudent(loaded()).answer([Lesson("x?", "a")], [Exam("y?", "1")], 0) == [answer]


def test_equal_exams_of_a_real_model_are_drawn_anew():
    student = InContextStudent(loaded(), longest=12, temperature=1.0, top_k=None, read=str)
    lessons, exams = [Lesson("1+2?", "3")] * 6, [Exam("2+2?", "4")] * 6
    found = student.answer(lessons, exams, 0)
    assert len(set(found)) == 6
    assert student.answer(lessons, exams, 0) == found
    assert student.answer(lessons, exams, 1) != found


def greedy(model, text, longest):
    """The likeliest continuation, by a loop over the whole text."""
    tokenizer = character_tokenizer()
    ids = tokenizer(text)["input_ids"]
    start = len(ids)
    while len(ids) < start + longest:
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    return tokenizer.decode(ids[start:], skip_special_tokens=True)


def test_likeliest_answers_equal_a_loop_over_prompts_that_are_written_out():
    students = loaded()
    student = InContextStudent(students, longest=8, temperature=0, read=str)
    sat = [("1+2?", "3", "2+2?"), ("a longer one, 1-1?", "so 0", "5?"), ("1+2?", "3", "7-2=?")]
    found = student.answer([Lesson(*one[:2]) for one in sat], [Exam(one[2], "") for one in sat], 0)
    expected = [
        greedy(
            students.model.inner,
            f"Problem: {asked}\nSolution: {told}\n\nProblem: {exam}\nSolution:",
            8,
        )
        for asked, told, exam in sat
    ]
    assert found == expected


def test_prompts_that_exceed_the_context_are_refused_or_count_as_no_answer():
    few, tall = Lesson("1?", "1"), Lesson("1?", "1" * 90)
    options = {"longest": 8, "read": lambda text: "read"}
    with pytest.raises(InputError, match="exceeds the model's context of 100"):
        InContextStudent(loaded(100), **options).answer([few, tall], [Exam("2?", "2")] * 2, 0)
    student = InContextStudent(loaded(100), overflow="skip", **options)
    assert student.answer([few, tall, few], [Exam("2?", "2")] * 3, 0) == ["read", None, "read"]
    assert student.answer([tall], [Exam("2?", "2")], 0) == [None]
    assert student.answer([], [], 0) == []


@pytest.mark.parametrize(
    "change",
    [
        {"longest": 0},
        {"temperature": -1},
        {"top_k": 0},
        {"batch_rows": 0},
        {"overflow": "cut"},
    ],
)
def test_options_out_of_range(change):
    with pytest.raises(InputError, match=next(iter(change))):
        InContextStudent(loaded(), **change)


def test_lessons_and_exams_that_are_no_text():
    student, text = InContextStudent(loaded()), Lesson("1?", "1")
    with pytest.raises(InputError, match="lessons has 2, exams has 1"):
        student.answer([text] * 2, [Exam("2?", "2")], 0)
    with pytest.raises(InputError, match="exams: expected problems as text, got int"):
        student.answer([text], [Exam(2, "2")], 0)
    with pytest.raises(InputError, match="lessons: expected problems as text, got Problem"):
        student.answer([Lesson(Problem("1?", "1", 0), "1")], [Exam("2?", "2")], 0)
    with pytest.raises(InputError, match="lessons: expected rationales as text, got NoneType"):
        student.answer([Lesson("1?", None)], [Exam("2?", "2")], 0)


class Calls:
    """A student that passes an exam if the rationale names it; counts what it is asked."""

    def __init__(self):
        self.asked, self.seeds = [], []

    def answer(self, lessons, exams, seed):
        self.asked += [(lesson.problem, lesson.rationale) for lesson in lessons]
        self.seeds.append(seed)
        return [
            exam.problem in lesson.rationale for lesson, exam in zip(lessons, exams, strict=True)
        ]


PROBLEMS = ["a?", "b?"]
EXAMS = [[Exam("1", True), Exam("2", True)], [Exam("3", True)]]


def answered(*given):
    """Responses to prompts, as texts."""
    tokenizer = character_tokenizer()
    made = as_responses([tokenizer(text)["input_ids"] for _, text in given])
    prompt = torch.tensor([prompt for prompt, _ in given])
    return Responses(prompt, made.tokens, made.lengths, made.log_probabilities, made.finished)


def evaluator(student=None, **options):
    reward = TeachabilityReward([student or Calls()], repeats=1)
    return TeachingEvaluator(reward, PROBLEMS, EXAMS, character_tokenizer(), **options)


def test_solutions_are_scored_by_the_exams_of_their_own_problem():
    responses = answered((1, "so 3"), (0, "1 and 2"), (0, "2"), (1, "1"), (0, "4"))
    scores = evaluator()([[5], [6]], responses)
    assert scores.dtype == torch.float32
    assert scores.tolist() == [1.0, 1.0, 0.5, 0.0, 0.0]


def test_equal_solutions_are_taught_once_and_blank_ones_never():
    student = Calls()
    responses = answered((0, "1"), (1, "1"), (0, " 1 "), (0, ""), (0, " \n"), (1, "1"))
    scores = evaluator(student)([[5], [6]], responses)
    assert scores.tolist() == [0.5, 0.0, 0.5, 0.0, 0.0, 0.0]
    assert sorted(student.asked) == [("a?", "1"), ("a?", "1"), ("b?", "1")]
    assert len(set(student.seeds)) == 2
    again = Calls()
    evaluator(again)([[5], [6]], responses)
    assert again.seeds == student.seeds
    other = Calls()
    evaluator(other, seed=1)([[5], [6]], responses)
    assert not set(other.seeds) & set(student.seeds)


def test_solutions_end_where_another_problem_begins():
    responses = answered((0, "1\n\nProblem: 2"))
    assert evaluator()([[5], [6]], responses).tolist() == [1.0]
    assert evaluator(end_marker="\n\nProblem:")([[5], [6]], responses).tolist() == [0.5]


def test_scores_do_not_depend_on_the_order_of_responses():
    given = [(0, "1"), (1, "3"), (0, "12"), (1, "4"), (0, "9")]
    base = evaluator()([[5], [6]], answered(*given)).numpy()
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        moved = evaluator()([[5], [6]], answered(*[given[row] for row in order])).numpy()
        assert np.array_equal(moved, base[order])


def test_unequal_numbers():
    reward = TeachabilityReward([Calls()])
    with pytest.raises(InputError, match="problems has 2, exams has 1"):
        TeachingEvaluator(reward, PROBLEMS, EXAMS[:1], character_tokenizer())
    with pytest.raises(InputError, match="prompts has 1, problems has 2"):
        evaluator()([[5]], answered((0, "1")))


def test_iterative_dpo_prefers_what_students_learn_from():
    responses = answered((0, "1 2"), (0, "4"), (0, "1"), (1, "4"), (1, "3"), (1, ""))
    unknown = torch.full((6,), torch.nan)
    run = Run(None, evaluator(), [[5], [6]], lambda _: unknown, Sampling())
    found, figures = IterativeDPO(pairs=1, gap=0.4).choose(run, responses)
    assert found.tolist() == [[0, 1], [4, 5]] or found.tolist() == [[0, 1], [4, 3]]
    assert figures["pairs"] == 2


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_real_student_gives_the_share_of_exams_it_passes(repeats):
    student = InContextStudent(loaded(), longest=4, read=lambda text: len(text) % 2)
    reward = TeachabilityReward([student], repeats=repeats)
    lessons = [Lesson("1?", "1"), Lesson("1?", "it is 1")]
    exams = [Exam("2?", 0), Exam("3?", 0), Exam("4?", 0)]
    scores = reward(lessons, exams, seed=3)
    flipped = reward(lessons, [Exam(exam.problem, 1) for exam in exams], seed=3)
    assert np.allclose(scores + flipped, 1.0)
    assert np.allclose(scores * 3 * repeats, np.round(scores * 3 * repeats))
