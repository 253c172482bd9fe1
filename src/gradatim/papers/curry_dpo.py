"""Curri-DPO from easy to hard pairs against DPO, on letters of words to be put in order.

The paper tunes 7B chat models on pairs of rated answers, the best answer of a prompt against the
others, the widest gap first, with the model of one stage as the start and the reference of the
next; GPT-4 judges. Here a small decoder learns to sort the letters of words from demonstrations in
which a fifth of the letters are wrong. Of eight of its own responses to each of other words, four
spread over the qualities are rated (closeness to the right response, with noise, in whole grades),
ties are dropped, and the pairs are learned. Judged are samples at temperature 0.7 to words that
nothing has learned from, by their true closeness: adjusted win rate against the samples of the
model before (ties count half), and how often the implicit reward prefers the better of that
model's two best responses (hard pairs) and of its best and worst (easy ones).

All arms make the same number of updates of the same number of pairs, with beta 0.1 and a warm-up of
a tenth of a run. Single-pair DPO, the shuffled pairs, Curri-DPO and its reversal each choose one of
the declared learning rates by the mean grade of samples to validation words, given by the same
noisy rater. The ablations (fixed reference, one ordered pass, gaps of log-probability, stages over
all pairs instead of within prompts) run at Curri-DPO's rate, single-pair DPO over its pairs once
at that of single-pair DPO; these are reported, not claimed.

Piloted on seeds 0 and 1 beside this: restoring the vowels of words, where the two arms that were
run (DPO on one pair, and on all) fell below the model before on new words; demonstrations learned
for longer and a wider decoder; a learning rate of 0.001, at which every arm fell below the model
before. There the log-probabilities of chosen responses fall, too, and farthest in stages with a
refreshed reference, since nothing holds them to the first model.

On seeds 0-4 every arm gains over the model before, single-pair DPO as much as any, and it tells
hard pairs best; orders, schedules and kinds of gap differ by little. Noise of the ratings is not
what stands in the way: also in the last stage most pairs are the right way round
(``rightly_rated``). Perhaps the widest pairs, seen again and again, teach here what the others
teach, too; close answers of a 7B model may show a kind of quality that wide pairs do not. Rates at
the lower edge of the search space are sometimes chosen for the arms on all pairs.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gradatim.core.seeds import derive_seed
from gradatim.curriculum.orders import difficulty_bins
from gradatim.language.response_examples import PreferenceExamples
from gradatim.language.sampling import Responses, sample
from gradatim.metrics.preference import adjusted_win_rate, reward_margin
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.curriculum_dpo import CurriculumDPO, Pairs
from gradatim.recipes.iterative_dpo import rated_pairs, referenced_pairs
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.sorted_words import (
    END,
    LONGEST,
    TOKENIZER,
    WordParts,
    demonstrations,
    prompts,
    quality,
    rate,
    word_parts,
)
from gradatim.studies.plots import Figure
from gradatim.training.fit import fit

POPULATION = (
    "a decoder of two layers of 64 units that sorts the letters of English words of 5 to 10 "
    "letters, taught by demonstrations with a fifth of wrong letters; pairs of its own responses"
)
BEFORE = "before"
SINGLE, SHUFFLED = "single-pair DPO", "all pairs, shuffled"
CURRY, REVERSED = "Curri-DPO", "Curri-DPO, hard to easy"
ONCE = "single-pair DPO, one epoch"
LEARNING_RATES = (3e-5, 1e-4, 3e-4)
"""The declared search space, for each of the arms in ``TUNED``."""

TUNED: Mapping[str, Mapping[str, Any]] = {
    SINGLE: {"mode": "best_worst", "stages": 1},
    SHUFFLED: {"stages": 1},
    CURRY: {},
    REVERSED: {"order": "hard_to_easy"},
}
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "fixed reference": {"schedule": "fixed_reference"},
    "one ordered pass": {"schedule": "single_pass"},
    "log-probability gap": {"difficulty": "log_probability"},
    "stages over all pairs": {"scope": "global"},
}
STAGES, BATCH, BETA, ERRORS = 3, 32, 0.1, 0.2
SAMPLED, RATED = 8, (0, 2, 5, 7)
"""Responses sampled of a word, and which of them are rated, by rising quality."""


def _gain(metric: str, over: str, group: str = "") -> Callable[[SeedTable], float]:
    def estimand(t: SeedTable) -> float:
        one, other = (t[arm].at(group) if group else t[arm] for arm in (CURRY, over))
        return one[metric] - other[metric]

    return estimand


CLAIMS = (
    Claim(
        "Tuned on several pairs a prompt from easy to hard, with refreshed references, samples win "
        "more often than those of DPO on one pair a prompt.",
        _gain("win_rate", SINGLE),
        smallest_effect=0.02,
        unit="adjusted win rate",
    ),
    Claim(
        "It tells the better of two close responses more often than DPO on one pair a prompt.",
        _gain("preference_accuracy", SINGLE, "pairs=hard"),
        smallest_effect=0.02,
        unit="accuracy of preferences",
    ),
    Claim(
        "The gain is more than that of the additional pairs: samples win more often than with all "
        "pairs shuffled.",
        _gain("win_rate", SHUFFLED),
        smallest_effect=0.02,
        unit="adjusted win rate",
    ),
    Claim(
        "The order from easy to hard matters: samples win more often than with stages reversed.",
        _gain("win_rate", REVERSED),
        smallest_effect=0.02,
        unit="adjusted win rate",
    ),
)

_ARMS = (*TUNED, *ABLATIONS, ONCE)
FIGURES = (
    Figure("win_rate", arms=_ARMS, title="Adjusted win rate against the model before"),
    Figure("quality", arms=(BEFORE, *_ARMS), title="Quality of samples"),
    *(
        Figure("preference_accuracy", where=f"pairs={kind}", arms=_ARMS, title=f"{kind} pairs told")
        for kind in ("easy", "hard")
    ),
    Figure("chosen_change", arms=_ARMS, title="Change of the better response's log-probability"),
    Figure(
        "rightly_rated", over="stage", arms=(BEFORE,), title="Pairs whose better response is chosen"
    ),
)


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Teach a decoder badly, let its responses be rated, and prefer in every way."""
    sizes = budget.pick(smoke=(120, 8, 4, 6), full=(2500, 640, 200, 400))
    words = word_parts(seed, sizes, most_files=budget.pick(smoke=15, full=0))
    first = _taught(words, seed, steps=budget.pick(smoke=2, full=400))
    lab = _Lab(first, words, seed, rates=LEARNING_RATES[: budget.pick(smoke=1, full=3)])
    chosen = {}
    for arm, options in TUNED.items():
        policy, chosen[arm] = lab.tuned(options)
        yield Measurement(arm, "learning_rate", chosen[arm])
        yield from lab.measured(arm, policy)
    for arm in list(ABLATIONS)[: budget.pick(smoke=1, full=None)]:
        yield from lab.measured(arm, lab.trained(ABLATIONS[arm], chosen[CURRY]))
    once = lab.trained({**TUNED[SINGLE], "steps": None}, chosen[SINGLE])
    yield from lab.measured(ONCE, once)
    yield from lab.described()


def _taught(words: WordParts, seed: int, steps: int) -> SmallDecoder:
    """The decoder that has learned from demonstrations with errors."""
    torch.manual_seed(derive_seed(seed, "decoder"))
    model = SmallDecoder(len(TOKENIZER), hidden_size=64, window=4, embedding_size=24)
    fit(
        model,
        demonstrations(words.demonstrations, ERRORS, seed),
        SupervisedTuning().step,
        optimizer=torch.optim.Adam(model.parameters(), 2e-3),
        steps=steps,
        batch_size=64,
        seed=derive_seed(seed, "teaching"),
        progress_bar=False,
    )
    return model


@dataclass(frozen=True)
class _Sampled:
    """Samples to words, and how good they are."""

    responses: Responses
    quality: torch.Tensor


class _Lab:
    """The first model with its rated responses, and what every arm is measured by."""

    def __init__(
        self, first: SmallDecoder, words: WordParts, seed: int, rates: Sequence[float]
    ) -> None:
        self.first, self.words, self.seed, self.rates = first, words, seed, rates
        self.rated = self._spread(words.preferences, "preferences")
        self.grades = rate(self.rated.quality, derive_seed(seed, "grades"))
        self.steps = max(1, len(words.preferences) // BATCH)
        self.before = self._sample(first, words.test, "test")
        self.tests = {kind: self._test_pairs(kind) for kind in ("easy", "hard")}

    def tuned(self, options: Mapping[str, Any]) -> tuple[SmallDecoder, float]:
        """The policy with the learning rate that validation grades are best with, and the rate."""
        trials = [(self.trained(options, lr), lr) for lr in self.rates]
        return max(trials, key=lambda trial: self._validation_grade(trial[0]))

    def trained(self, options: Mapping[str, Any], lr: float) -> SmallDecoder:
        """A policy after tuning; every arm makes as many updates unless told otherwise."""
        settings = dict(options)
        difficulty = settings.pop("difficulty", "rating")
        stages = settings.get("stages", STAGES)
        recipe = CurriculumDPO(
            copy.deepcopy(self.first),
            **{"stages": stages, "steps": self.steps * STAGES // stages, **settings},
            beta=BETA,
            batch_size=BATCH,
            optimizer=lambda parameters: torch.optim.AdamW(parameters, lr),
            precision="float32",
        )
        recipe.fit(
            prompts(self.words.preferences),
            self.rated.responses,
            self.grades,
            difficulty=difficulty,
            seed=derive_seed(self.seed, "tuning"),
        )
        assert isinstance(recipe.policy, SmallDecoder)
        return recipe.policy

    def measured(self, arm: str, policy: SmallDecoder) -> Iterator[Measurement]:
        """Samples to test words, and preferences on test pairs."""
        now = self._sample(policy, self.words.test, "test")
        yield Measurement(arm, "win_rate", adjusted_win_rate(now.quality, self.before.quality))
        yield Measurement(arm, "quality", float(now.quality.mean()))
        yield Measurement(arm, "length", float(now.responses.lengths.double().mean()))
        for kind, (pairs, logs) in self.tests.items():
            found = self._read(policy, pairs)
            margin = reward_margin(*found.values(), *logs.values(), beta=BETA)
            told = adjusted_win_rate(margin, torch.zeros_like(margin))
            yield Measurement(arm, "preference_accuracy", told, f"pairs={kind}")
            if kind == "hard":
                change = found["chosen_reference"] - logs["chosen_reference"]
                yield Measurement(arm, "chosen_change", float(change.mean()))

    def described(self) -> Iterator[Measurement]:
        """The first model, and the pairs that its rated responses make."""
        yield Measurement(BEFORE, "quality", float(self.before.quality.mean()))
        yield Measurement(BEFORE, "rated_quality", float(self.rated.quality.mean()))
        chosen, rejected, gap = rated_pairs(self.rated.responses, self.grades)
        better, worse = (quality(self.words.preferences, one) for one in (chosen, rejected))
        stage = torch.from_numpy(difficulty_bins(-gap, STAGES, group=chosen.prompt))
        for number in range(STAGES):
            rows, group = stage == number, f"stage={number + 1}"
            yield Measurement(BEFORE, "pairs", float(rows.sum()), group)
            right = adjusted_win_rate(better[rows], worse[rows])
            yield Measurement(BEFORE, "rightly_rated", right, group)

    def _validation_grade(self, policy: SmallDecoder) -> float:
        found = self._sample(policy, self.words.validation, "validation")
        return float(rate(found.quality, derive_seed(self.seed, "validation grades")).mean())

    def _sample(
        self,
        policy: SmallDecoder,
        words: Sequence[str],
        *keys: str,
        copies: int = 4,
        temperature: float = 0.7,
    ) -> _Sampled:
        responses = sample(
            policy,
            prompts(words),
            copies=copies,
            longest=LONGEST,
            stop=[END],
            temperature=temperature,
            seed=derive_seed(self.seed, "samples", *keys),
        )
        return _Sampled(responses, quality(words, responses))

    def _spread(self, words: Sequence[str], *keys: str) -> _Sampled:
        """Four of eight responses of the first model to each word, spread over the qualities."""
        found = self._sample(self.first, words, "rated", *keys, copies=SAMPLED, temperature=1.0)
        order = found.quality.view(-1, SAMPLED).argsort(dim=1, stable=True)[:, list(RATED)]
        rows = (order + SAMPLED * torch.arange(len(words))[:, None]).flatten()
        return _Sampled(found.responses.select(rows), found.quality[rows])

    def _test_pairs(self, kind: str) -> tuple[Pairs, Mapping[str, torch.Tensor]]:
        """Of each test word the best response against the worst (easy), or the next (hard)."""
        found = self._spread(self.words.test, "test")
        chosen, rejected, _ = rated_pairs(found.responses, found.quality)
        none = torch.tensor([-1])
        first = chosen.prompt.diff(prepend=none) != 0
        last = chosen.prompt.diff(append=none) != 0
        ends = first if kind == "easy" else last  # pairs of a prompt stand by falling gap
        pairs = (prompts(self.words.test), chosen.select(ends), rejected.select(ends))
        return pairs, self._read(self.first, pairs)

    @staticmethod
    def _read(policy: SmallDecoder, pairs: Pairs) -> Mapping[str, torch.Tensor]:
        examples: PreferenceExamples = referenced_pairs(policy, *pairs, dtype=torch.float32)
        return examples.rows
