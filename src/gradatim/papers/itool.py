"""iTool against supervised tuning, on requests that a small decoder answers with tool calls.

The paper tunes 8B models on synthetic tool calls and judges by leaderboards of function calls. Here
a decoder learns from scratch. A prompt names two to seven of twelve tools and makes a request, as
``cab alarm : alarm hour 3 plus 2 :``; the answer is one to three calls, ``[ alarm ( hour = 5 ) ]``,
or ``none`` where the tool is missing. Copies are learned early; sums and differences, and which
tools are missing, are what is left. Difficulty is the mean rank by number of candidates, length of
their list and number of calls, which the paper names for its order; complex is the hardest third of
the test requests by it.

Supervised tuning makes 800 updates of 12 on shuffled requests. Easy to hard makes 700, a third on
each third of the requests; iTool goes on from there with two rounds of 50, 800 in all (easy to hard
alone does not go on). A round takes the 30 % of the requests whose right answers have the highest
perplexity, those with and without a call apart; a tree of three expansions by three answers; SimPO
with the authors' beta and margin. A reward is the mean share of right names, arguments, values and
calls; the authors' quick guess by overlap of words is added, their grading by the policy itself is
left out. Whole-answer pairs take as many sampled answers to each request, and prefer the best to
the worst with the same objective and updates. Both choose the learning rate of their rounds by
exact match on validation requests. Supervised tuning has one rate, piloted on seed 0 with shuffled
data.

Piloted on seeds 0-2 beside this: the authors' temperature of 1.5, at which most sampled answers of
a small decoder are noise and what is learned from them does harm; rates of 2e-4 and more, and DPO,
which fell behind the model before; three pieces of depth instead of six; twice the examples an
update, where shuffled tuning fits its requests wholly, and a staged order, which sees each third in
its own stage alone, falls far behind it.

On seeds 0-4 the staged order does about as well as the shuffled one, better with some seeds and
worse with others, by more than search adds to it. Search gains a little or nothing. What probably
stands in its way: the decoder has no knowledge beyond the right answers that it was tuned on, and
search starts from the same requests; a pair says which of two values is right, a right answer says
the same and more. Rewards of searched answers hardly rise from the first round to the second. Also
after shuffled tuning (reported) search changes little. The larger of the two rates is chosen
throughout. A large pretrained model, which knows more than its tool data teach, may gain more.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from gradatim.core.seeds import derive_seed
from gradatim.language.sampling import sample
from gradatim.metrics.call_match import call_match, fragment_reward, parse_calls
from gradatim.mining.tree_search import TreeSearchPairs
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.reinforced_fine_tuning import IterativeReinforcedFineTuning
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.tool_requests import (
    END,
    TOKENIZER,
    RequestEnvironment,
    ToolRequest,
    complexity,
    tool_requests,
)
from gradatim.studies.plots import Figure

POPULATION = (
    "a decoder of two layers of 48 units, trained from scratch to answer requests over twelve "
    "tools with one to three calls, two fifths of whose numbers are sums or differences"
)
SHUFFLED, WARM = "supervised, shuffled", "easy to hard"
ITOOL, WHOLE = "iTool", "whole-answer pairs"
AFTER = "shuffled, then search"
LEARNING_RATES = (5e-5, 1e-4)
"""The declared search space, of preference learning in each arm that has it."""

SUPERVISED_RATE = 4e-3
BATCH, TEMPERATURE, LONGEST = 12, 1.0, 40
TREE = TreeSearchPairs(
    separators=TOKENIZER.encode("( , ="), group=1, copies=3, depth=6, iterations=3, turns=0
)
PLAIN = TreeSearchPairs(copies=TREE.copies * TREE.iterations, depth=1, iterations=1, turns=0)
"""As many sampled answers to a request, and the best of them against the worst."""


def _complex(arm: str, over: str) -> Any:
    def estimand(t: SeedTable) -> float:
        one, other = (t[name].at("requests=complex") for name in (arm, over))
        return one.exact_match - other.exact_match

    return estimand


def _decay(t: SeedTable) -> float:
    """By how much the second doubling of the data gains less than the first."""
    quarter, half, whole = (
        t[SHUFFLED].at(f"data={share}").exact_match for share in ("1/4", "1/2", "1")
    )
    return (half - quarter) - (whole - half)


CLAIMS = (
    Claim(
        "iTool answers more complex requests exactly than supervised tuning on shuffled data with "
        "as many updates.",
        _complex(ITOOL, SHUFFLED),
        smallest_effect=0.02,
        unit="exact match",
    ),
    Claim(
        "Search and preference learning gain over supervised tuning from easy to hard alone.",
        _complex(ITOOL, WARM),
        smallest_effect=0.01,
        unit="exact match",
    ),
    Claim(
        "The gain of supervised tuning decays as data grow: the second doubling of the data gains "
        "less than the first.",
        _decay,
        smallest_effect=0.02,
        unit="exact match",
    ),
    Claim(
        "Pairs of short pieces from a tree gain more than pairs of whole sampled answers.",
        _complex(ITOOL, WHOLE),
        smallest_effect=0.01,
        unit="exact match",
    ),
)

_ARMS = (SHUFFLED, WARM, WHOLE, ITOOL, AFTER)
FIGURES = (
    *(
        Figure("exact_match", where=f"requests={kind}", arms=_ARMS, title=f"Exact match, {kind}")
        for kind in ("complex", "simple")
    ),
    Figure(
        "argument_values", where="requests=complex", arms=_ARMS, title="Right arguments, complex"
    ),
    Figure("parsed", where="requests=complex", arms=_ARMS, title="Answers that can be read"),
)


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Tune on requests with and without search, and count exact answers."""
    sizes = budget.pick(smoke=(24, 6, 12), full=(1000, 200, 600))
    lab = _Lab(seed, sizes, *budget.pick(smoke=(3, 1, 1), full=(700, 50, 2)))
    for share, part in (("1/4", 4), ("1/2", 2), ("1", 1)):
        shuffled, _ = lab.tuned(
            lab.fresh(),
            lab.training[: sizes[0] // part],
            supervised_steps=lab.supervised + lab.rounds * lab.steps,
            order="shuffled",
        )
        exact = float(lab.exact(shuffled, lab.test).mean())
        yield Measurement(SHUFFLED, "exact_match", exact, f"data={share}")
    yield from lab.measured(SHUFFLED, shuffled)
    warm, _ = lab.tuned(lab.fresh())
    yield from lab.measured(WARM, warm)
    rates = LEARNING_RATES[: budget.pick(smoke=1, full=None)]
    for arm, search in ((WHOLE, PLAIN), (ITOOL, TREE)):
        trials = [lab.searched(warm, search, rate) for rate in rates]
        grades = [lab.exact(policy, lab.validation).mean() for policy, _ in trials]
        best = int(np.argmax(grades))
        yield Measurement(arm, "learning_rate", rates[best])
        yield from lab.reported(arm, *trials[best])
    yield from lab.reported(AFTER, *lab.searched(shuffled, TREE, rates[best]))


class _Lab:
    """The requests, and what every arm does with them."""

    def __init__(
        self, seed: int, sizes: tuple[int, int, int], supervised: int, steps: int, rounds: int
    ) -> None:
        self.seed, self.supervised, self.steps, self.rounds = seed, supervised, steps, rounds
        requests = tool_requests(sum(sizes), seed=seed)
        self.training = requests[: sizes[0]]
        self.validation = requests[sizes[0] : sizes[0] + sizes[1]]
        self.test = requests[sizes[0] + sizes[1] :]
        difficulty = complexity(self.test)
        self.complex = difficulty >= np.quantile(difficulty, 2 / 3)

    def fresh(self) -> SmallDecoder:
        """A decoder that has learned nothing."""
        torch.manual_seed(derive_seed(self.seed, "decoder"))
        return SmallDecoder(len(TOKENIZER), hidden_size=48, window=5, embedding_size=24)

    def tuned(
        self, model: SmallDecoder, requests: Sequence[ToolRequest] = (), **options: Any
    ) -> tuple[SmallDecoder, list[dict[str, float]]]:
        """A model after tuning on requests (all, if none are given), with figures of its phases."""
        requests = requests or self.training
        settings: Mapping[str, Any] = {
            "supervised_steps": self.supervised,
            "rounds": 0,
            "supervised_optimizer": lambda some: torch.optim.Adam(some, SUPERVISED_RATE),
            **options,
        }
        recipe = IterativeReinforcedFineTuning(
            model,
            RequestEnvironment(),
            TOKENIZER,
            stop=[END],
            longest=LONGEST,
            temperature=TEMPERATURE,
            steps=self.steps,
            batch_size=BATCH,
            precision="float32",
            **settings,
        )
        log = recipe.fit(
            requests,
            [request.answer for request in requests],
            complexity(requests),
            group=[request.calls > 0 for request in requests],
            seed=derive_seed(self.seed, "tuning"),
        )
        return model, log

    def searched(
        self, first: SmallDecoder, search: TreeSearchPairs, rate: float
    ) -> tuple[SmallDecoder, list[dict[str, float]]]:
        """A copy of a model after rounds of search and preference learning."""
        return self.tuned(
            copy.deepcopy(first),
            supervised_steps=0,
            rounds=self.rounds,
            search=search,
            fast_reward=lambda request, piece: fragment_reward(piece, request.answer),
            optimizer=lambda some: torch.optim.Adam(some, rate),
        )

    def answers(self, model: SmallDecoder, requests: Sequence[ToolRequest]) -> list[str]:
        """What a model answers, the likeliest token each."""
        prompts = [TOKENIZER.encode(request.prompt) for request in requests]
        found = sample(
            model, prompts, longest=LONGEST, stop=[END], temperature=0, batch_rows=len(prompts)
        )
        return [
            TOKENIZER.decode(token for token in tokens if token != END) for tokens in found.lists()
        ]

    def exact(self, model: SmallDecoder, requests: Sequence[ToolRequest]) -> Any:
        """Which requests are answered exactly."""
        answers = self.answers(model, requests)
        return np.array([a == r.answer for a, r in zip(answers, requests, strict=True)])

    def reported(
        self, arm: str, policy: SmallDecoder, log: list[dict[str, float]]
    ) -> Iterator[Measurement]:
        """Test requests, and what happened in the rounds."""
        yield from self.measured(arm, policy)
        for number, figures in enumerate(log, start=1):
            for name, value in figures.items():
                yield Measurement(arm, name, value, f"round={number}")

    def measured(self, arm: str, model: SmallDecoder) -> Iterator[Measurement]:
        """Test requests, complex ones and the others."""
        answers = self.answers(model, self.test)
        pairs = list(zip(answers, self.test, strict=True))
        figures = {
            "exact_match": [answer == request.answer for answer, request in pairs],
            "argument_values": [
                call_match(answer, request.answer)["arg_values"] for answer, request in pairs
            ],
            "parsed": [
                parse_calls(answer) is not None or answer == request.answer
                for answer, request in pairs
            ],
        }
        for kind, rows in (("complex", self.complex), ("simple", ~self.complex)):
            for name, values in figures.items():
                mean = float(np.mean(np.asarray(values, dtype=float)[rows]))
                yield Measurement(arm, name, mean, f"requests={kind}")
