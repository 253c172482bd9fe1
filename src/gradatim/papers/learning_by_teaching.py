"""Learning by teaching: solutions chosen, and preferred, by how well students do with them.

A teacher reads stories of three numbers and writes a program of two operations. It is a softmax on
MiniLM's embeddings of the stories, taught with a dozen stories of each kind in each of two wordings
and with one in each of two others, about which it is asked; on seeds 0-2 it was right one time in
ten without that one. Its students cannot read; they are small nets that carry out a program on
numbers, each of which has seen another part of all programs and numbers, and all of which err. The
exams of a solution are the same story with other numbers, whose answers are known; no answer to the
story itself is.

M1: 32 programs are sampled from the teacher, and one of their answers is chosen by votes, or by the
students' scores. M2: pairs of sampled programs whose scores differ by 0.2 train the teacher with
DPO; the baseline has the right answers to the same stories instead of exams. Both have the same
updates, and choose among the same two learning rates by the teacher's cross-entropy on held-out
stories of the wordings that it was taught with. M3: which eight labelled docstrings a
nearest-neighbour teacher should show, improved by what its students get wrong; it is reported, and
nothing is claimed of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from gradatim.core.seeds import derive_seed, numpy_generator, torch_generator
from gradatim.evaluators.score_votes import select_by_score
from gradatim.evaluators.teachability import Exam, Lesson, TeachabilityReward
from gradatim.language.sentence_encoder import embed_texts
from gradatim.mining.ranked_pairs import ranked_pairs
from gradatim.objectives.preference import dpo
from gradatim.recipes.iterative_teaching import IterativeTeaching, f1, swap_near_failures
from gradatim.studies.claims import Budget, Claim, Measurement
from gradatim.studies.data.docstrings import docstring_summaries
from gradatim.studies.data.number_stories import (
    NUMBERS,
    WORDINGS,
    Stories,
    draw_stories,
    program_tokens,
    programs,
    run_program,
)
from gradatim.studies.plots import Figure

POPULATION = (
    "stories of twelve kinds in wordings of which the teacher has seen one each, a softmax on "
    "MiniLM's embeddings over 17 programs, three students who carry programs out"
)
COPIES, EXAMS, GAP, BETA = 32, 3, 0.2, 0.1
SHARES = (0.5, 0.6, 0.7)
"""Of all programs and numbers, what each student has seen."""

RATES = (3e-3, 1e-2)
"""The declared search space of DPO, for either source of pairs."""

RULES = {"vote": "majority", "highest": "max", "sum": "sum", "mean": "avg"}
Values = NDArray[np.float64]
Ints = NDArray[np.int64]

CLAIMS = (
    Claim(
        "Answers chosen by the sum of the students' scores are more often right than those chosen "
        "by the majority.",
        lambda t: t["sum"].accuracy - t["vote"].accuracy,
        smallest_effect=0.02,
        unit="accuracy",
    ),
    Claim(
        "They are more often right than the teacher's likeliest program.",
        lambda t: t["sum"].accuracy - t["greedy"].accuracy,
        smallest_effect=0.02,
        unit="accuracy",
    ),
    Claim(
        "A teacher tuned on pairs by the students' scores is more often right than before.",
        lambda t: t["DPO by scores"].accuracy - t["greedy"].accuracy,
        smallest_effect=0.02,
        unit="accuracy",
    ),
    Claim(
        "Three students choose as well as one of them does on average, but for a point.",
        lambda t: t["sum"].accuracy - t["sum, one student"].accuracy,
        threshold=-0.01,
        smallest_effect=0.01,
        unit="accuracy",
    ),
)

FIGURES = (
    Figure(
        "accuracy",
        arms=("greedy", *RULES, "sum, one student", "DPO by scores", "DPO by answers"),
        title="Right answers to stories",
    ),
    Figure("f1", over="round", title="Choosing what to show: F1 of the teacher", unit="F1"),
)


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Teach teacher and students, choose, tune, and search for what to show."""
    lab = _Lab(seed, budget)
    yield from lab.choose()
    yield from lab.prefer()
    yield from _shown(seed, budget)


@dataclass(frozen=True)
class Executor:
    """A student: a net that carries out programs, in one piece.

    Attributes:
        net: from one-hot program and numbers to a value.
        values: all values that there are, in order.
    """

    net: torch.nn.Module
    values: Ints

    def answer(self, lessons: Sequence[Lesson], exams: Sequence[Exam], seed: int) -> list[int]:
        """Carry out each lesson's program on the exam's numbers; chance plays no part."""
        program = np.array([lesson.rationale for lesson in lessons])
        numbers = np.array([exam.problem for exam in exams])
        return [int(value) for value in self.run(program, numbers)]

    @torch.no_grad()
    def run(self, program: Ints, numbers: Ints) -> Ints:
        """The values that it comes to, shape [N]."""
        logits = self.net(_execution_inputs(program, numbers))
        return np.asarray(self.values[logits.argmax(dim=1).numpy()])


class _Lab:
    """One seed's stories, teacher and students."""

    def __init__(self, seed: int, budget: Budget) -> None:
        self.seed, self.budget = seed, budget
        order = numpy_generator(seed, "wordings").permutation(WORDINGS).tolist()
        taught, asked = tuple(order[:2]), tuple(order[2:])
        size = budget.pick(smoke=2, full=12)
        self.parts = {
            "taught": draw_stories(seed, "taught", taught, size),
            "once": draw_stories(seed, "once", asked, 1),
            "held": draw_stories(seed, "held", taught, size),
            "tuned": draw_stories(seed, "tuned", asked, size),
            "test": draw_stories(seed, "test", asked, size),
        }
        self.features = _embedded(self.parts, budget)
        self.teacher = self._teacher()
        self.students = [
            _executor(derive_seed(seed, "student", place), share, budget)
            for place, share in enumerate(SHARES)
        ]

    def _teacher(self) -> torch.nn.Linear:
        """A softmax on embeddings, taught with the right programs."""
        seen = ("taught", "once")
        features = torch.cat([self.features[part] for part in seen])
        target = torch.from_numpy(np.concatenate([self.parts[part].program for part in seen]))
        model = torch.nn.Linear(features.shape[1], len(programs()))
        torch.nn.init.zeros_(model.weight)
        torch.nn.init.zeros_(model.bias)
        adam = torch.optim.Adam(model.parameters(), 0.05)
        for _ in range(self.budget.pick(smoke=20, full=40)):
            adam.zero_grad()
            functional.cross_entropy(model(features), target).backward()  # type: ignore[no-untyped-call]
            adam.step()
        return model

    def sampled(self, part: str) -> tuple[Ints, Values]:
        """Programs sampled for each story, and the students' scores of them, [S, N, K]."""
        with torch.no_grad():
            chances = self.teacher(self.features[part]).softmax(dim=1)
        generator = torch_generator(self.seed, "programs", part)
        drawn = torch.multinomial(chances, COPIES, replacement=True, generator=generator).numpy()
        return drawn, self.scores(part, drawn)

    def scores(self, part: str, drawn: Ints) -> Values:
        """How well each student does with each program on exams of each story."""
        stories, reward = self.parts[part], TeachabilityReward(self.students, repeats=1)
        exams = _exams(stories.numbers, numpy_generator(self.seed, "exams", part))
        found = np.zeros((len(self.students), *drawn.shape))
        for row, own in enumerate(exams):
            kinds, place = np.unique(drawn[row], return_inverse=True)
            right = run_program(np.full(EXAMS, stories.program[row]), own)
            found[:, row] = reward.by_student(
                [Lesson(tuple(stories.numbers[row]), kind) for kind in kinds.tolist()],
                [
                    Exam(tuple(one), value)
                    for one, value in zip(own.tolist(), right.tolist(), strict=True)
                ],
            )[:, place]
        return found

    def choose(self) -> Iterator[Measurement]:
        """M1: the rules on the test stories."""
        stories = self.parts["test"]
        drawn, scores = self.sampled("test")
        answers = np.stack([run_program(drawn[:, k], stories.numbers) for k in range(COPIES)], 1)
        right = run_program(stories.program, stories.numbers)

        def accuracy(values: Values, how: str) -> float:
            chosen = [
                select_by_score(own, value, how=how)
                for own, value in zip(answers.tolist(), values, strict=True)
            ]
            return float(np.mean(chosen == right))

        for arm, how in RULES.items():
            yield Measurement(arm, "accuracy", accuracy(scores.mean(axis=0), how))
        alone = [accuracy(one, "sum") for one in scores]
        yield Measurement("sum, one student", "accuracy", float(np.mean(alone)))
        yield Measurement("greedy", "accuracy", self.accuracy(self.teacher))
        for place, student in enumerate(self.students):
            value = student.run(stories.program, stories.numbers) == right
            yield Measurement("students", "accuracy", float(value.mean()), f"student={place}")
        good = drawn == stories.program[:, None]
        for name, which in (("right", good), ("wrong", ~good)):
            yield Measurement(
                "students", "score", float(scores.mean(axis=0)[which].mean()), f"programs={name}"
            )

    def prefer(self) -> Iterator[Measurement]:
        """M2: DPO by the students' scores, and by right answers."""
        drawn, scores = self.sampled("tuned")
        stories = self.parts["tuned"]
        right = run_program(stories.program, stories.numbers)
        correct = np.stack(
            [run_program(drawn[:, k], stories.numbers) == right for k in range(COPIES)], 1
        )
        sources = {"DPO by scores": scores.mean(axis=0), "DPO by answers": correct.astype(float)}
        for arm, ratings in sources.items():
            trials = [self._tuned(drawn, ratings, rate) for rate in RATES]
            losses = [self._held_loss(model) for model in trials]
            best = int(np.argmin(losses))
            yield Measurement(arm, "accuracy", self.accuracy(trials[best]))
            yield Measurement(arm, "rate", RATES[best])

    def _tuned(self, drawn: Ints, ratings: Values, rate: float) -> torch.nn.Linear:
        """The teacher after DPO on pairs of its own programs."""
        once = np.array(
            [[k == list(row).index(p) for k, p in enumerate(row)] for row in drawn.tolist()]
        )
        pairs = ranked_pairs(
            torch.from_numpy(np.where(once, ratings, np.nan)), mode="all", min_gap=GAP
        )
        chosen, rejected = pairs.of(torch.from_numpy(drawn))
        features = self.features["tuned"]
        model = torch.nn.Linear(*self.teacher.weight.T.shape)
        model.load_state_dict(self.teacher.state_dict())
        with torch.no_grad():
            before = self.teacher(features).log_softmax(dim=1)
        adam = torch.optim.Adam(model.parameters(), rate)
        for _ in range(self.budget.pick(smoke=5, full=100)):
            now = model(features).log_softmax(dim=1)
            loss = dpo(
                now[pairs.prompt, chosen], now[pairs.prompt, rejected],
                before[pairs.prompt, chosen], before[pairs.prompt, rejected], beta=BETA,
            )  # fmt: skip
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        return model

    def _held_loss(self, model: torch.nn.Linear) -> float:
        target = torch.from_numpy(self.parts["held"].program)
        with torch.no_grad():
            return float(functional.cross_entropy(model(self.features["held"]), target))

    def accuracy(self, model: torch.nn.Linear) -> float:
        """Right answers of the likeliest programs."""
        stories = self.parts["test"]
        with torch.no_grad():
            program = model(self.features["test"]).argmax(dim=1).numpy()
        right = run_program(stories.program, stories.numbers)
        return float((run_program(program, stories.numbers) == right).mean())


def _exams(numbers: Ints, generator: np.random.Generator) -> Ints:
    """For each story other numbers than its own, all different, shape [N, EXAMS, 3]."""
    triples = np.array(np.meshgrid(*[NUMBERS] * 3)).reshape(3, -1).T
    others = [triples[(triples != own).any(axis=1)] for own in numbers]
    return np.stack([generator.choice(one, EXAMS, replace=False) for one in others])


def _embedded(parts: Mapping[str, Stories], budget: Budget) -> dict[str, torch.Tensor]:
    """Embeddings of all stories, of unit length."""
    texts = [text for stories in parts.values() for text in stories.texts]
    vectors = _vectors(texts, budget)
    ends = np.cumsum([len(stories) for stories in parts.values()])[:-1]
    return {
        name: torch.from_numpy(np.ascontiguousarray(some, dtype=np.float32))
        for name, some in zip(parts, np.split(vectors, ends), strict=True)
    }


def _vectors(texts: Sequence[str], budget: Budget) -> NDArray[np.float32]:
    if budget.pick(smoke=False, full=True):
        return embed_texts(texts)
    return _tf_idf(texts)


def _tf_idf(texts: Sequence[str]) -> NDArray[np.float32]:
    from sklearn.feature_extraction.text import TfidfVectorizer

    found = TfidfVectorizer(sublinear_tf=True).fit_transform(texts)
    return np.asarray(found.toarray(), dtype=np.float32)


def _execution_inputs(program: Ints, numbers: Ints) -> torch.Tensor:
    """One-hot form, operations and numbers, shape [N, 27]."""
    places = np.concatenate([program_tokens(program), numbers - NUMBERS.start], axis=1)
    sizes = [3, 3, 3, *[len(NUMBERS)] * 3]
    parts = [
        functional.one_hot(torch.from_numpy(column), size)
        for column, size in zip(places.T.copy(), sizes, strict=True)
    ]
    return torch.cat(parts, dim=1).float()


def _executor(seed: int, share: float, budget: Budget) -> Executor:
    """A net that has seen a share of all programs and numbers."""
    grid = np.array(np.meshgrid(range(len(programs())), *[NUMBERS] * 3)).reshape(4, -1).T
    results = run_program(grid[:, 0], grid[:, 1:])
    values, target = np.unique(results, return_inverse=True)
    generator = numpy_generator(seed, "seen")
    seen = torch.from_numpy(generator.permutation(len(grid))[: int(share * len(grid))])
    inputs, wanted = (
        _execution_inputs(grid[:, 0], grid[:, 1:])[seen],
        torch.from_numpy(target)[seen],
    )
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(
            torch.nn.Linear(inputs.shape[1], 96), torch.nn.ReLU(), torch.nn.Linear(96, len(values))
        )
    adam = torch.optim.Adam(net.parameters(), 0.01)
    for epoch in range(budget.pick(smoke=2, full=40)):
        order = torch.from_numpy(numpy_generator(seed, "epoch", epoch).permutation(len(seen)))
        for rows in torch.split(order, 64):
            adam.zero_grad()
            functional.cross_entropy(net(inputs[rows]), wanted[rows]).backward()  # type: ignore[no-untyped-call]
            adam.step()
    return Executor(net, values)


def _shown(seed: int, budget: Budget) -> Iterator[Measurement]:
    """M3: eight docstrings of two packages that a nearest neighbour is shown."""
    found = docstring_summaries(
        budget.pick(smoke=40, full=400), most_files=budget.pick(smoke=25, full=10_000)
    )
    rows = np.flatnonzero(np.isin(found.labels, (4, 5)))
    rows = numpy_generator(seed, "docstrings").permutation(rows)
    texts, labels = [found.texts[row] for row in rows], (found.labels[rows] == 5).astype(np.int64)
    half = len(rows) // 2
    train, test = np.arange(half), np.arange(half, len(rows))
    spaces = {"teacher": _vectors(texts, budget), "words": _tf_idf(texts)}
    noise = numpy_generator(seed, "projection").standard_normal((spaces["words"].shape[1], 16))
    spaces["projected"] = (spaces["words"] @ noise).astype(np.float32)
    predict = {name: _nearest(space, labels) for name, space in spaces.items()}
    arms = {
        "taught by itself": ["teacher"],
        "taught by one": ["words"],
        "taught by all": [*spaces],
    }
    for arm, students in arms.items():
        recipe = IterativeTeaching(
            predict["teacher"], [predict[name] for name in students],
            swap_near_failures(spaces["teacher"], labels),
            shown=8, rounds=budget.pick(smoke=1, full=5), seed=derive_seed(seed, "teaching"),
        )  # fmt: skip
        outcome = recipe.fit(train, labels)
        for number, examples in enumerate(outcome.best):
            value = f1(labels[test], predict["teacher"](examples, test))
            yield Measurement(arm, "f1", float(value), f"round={number}")


def _nearest(space: NDArray[np.float32], labels: Ints) -> Callable[[Ints, Ints], Ints]:
    """Predictions by the nearest of the examples shown."""
    unit = space / np.maximum(np.linalg.norm(space, axis=1, keepdims=True), 1e-12)

    def predict(examples: Ints, rows: Ints) -> Ints:
        return np.asarray(labels[examples[(unit[rows] @ unit[examples].T).argmax(axis=1)]])

    return predict
