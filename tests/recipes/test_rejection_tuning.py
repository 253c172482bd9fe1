import json

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.curriculum.response_budget import response_targets
from gradatim.language.characters import CharacterTokenizer
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.rejection_log import RejectionLog
from gradatim.recipes.rejection_tuning import RejectionTuner, tuning_examples
from gradatim.selection.rejection_generators import LanguageGenerator
from gradatim.selection.rejection_sampling import Call, Kept
from tests.selection.test_rejection_sampling import Coin, verify

P = np.array([0.9, 0.6, 0.3, 0.1])


class KilledError(Exception):
    pass


class Mortal(Coin):
    """Dies at its n-th call."""

    def __init__(self, p, dies):
        super().__init__(p)
        self.dies = dies

    def __call__(self, prompts, n):
        if len(self.asked) == self.dies:
            raise KilledError
        return super().__call__(prompts, n)


def tuner(generate, **options):
    settings = {"strategy": "prop2diff", "k": 10, "max_trials": 400, "batch": 16}
    return RejectionTuner(generate, verify, **{**settings, **options})


def as_lists(data):
    return [[one.question, one.trial, list(one.response)] for one in data.found.kept]


@pytest.mark.parametrize("strategy", ["uniform", "prop2diff"])
def test_targets_follow_from_the_first_pass(strategy):
    data = tuner(Coin(P), strategy=strategy).sample(range(4))
    first = np.zeros(4)
    for one in data.found.kept:
        first[one.question] += one.trial < 16
    assert data.difficulty == pytest.approx(1 - first / 16)
    assert (data.found.targets == response_targets(data.difficulty, strategy, 10)).all()
    assert (data.found.counts >= data.found.targets).all() and (data.found.n_trials >= 16).all()
    chosen = np.bincount([one.question for one in data.chosen()], minlength=4)
    assert (chosen == data.found.targets).all()


def test_vanilla_makes_k_trials_of_every_question():
    data = tuner(Coin(P), strategy="vanilla", k=40).sample(range(4))
    assert data.found.n_trials.tolist() == [40] * 4
    assert len(data.chosen()) == data.found.n_correct.sum()
    few = tuner(Coin(P), strategy="vanilla", k=5).sample(range(4))
    assert few.found.n_trials.tolist() == [5] * 4


def test_strategies_can_share_a_first_pass():
    one = tuner(Coin(P))
    first = one.first_pass(range(4))
    before = first.n_trials.copy()
    data = one.sample(range(4), first=first)
    assert as_lists(data) == as_lists(one.sample(range(4)))
    assert (first.n_trials == before).all()


@pytest.mark.parametrize("dies", [0, 1, 3, 6, 9])
def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, dies):
    whole = tuner(Coin(P)).sample(range(4))
    log = tmp_path / "log.jsonl"
    with pytest.raises(KilledError):
        tuner(Mortal(P, dies)).sample(range(4), log=log)
    with log.open("ab") as file:
        file.write(b'{"questions": [0], "tri')  # the line that was being written
    data = tuner(Coin(P)).sample(range(4), log=log)
    assert as_lists(data) == as_lists(whole)
    assert (data.found.n_trials == whole.found.n_trials).all()
    assert (data.difficulty == whole.difficulty).all()
    calls = Coin(P)
    again = tuner(calls).sample(range(4), log=log)
    assert calls.asked == [] and as_lists(again) == as_lists(whole)
    for line in log.read_text().splitlines():
        json.loads(line)


def test_a_log_of_another_job_is_refused(tmp_path):
    log = tmp_path / "log.jsonl"
    tuner(Coin(P)).sample(range(4), log=log)
    before = log.read_bytes()
    for other, prompts in ((tuner(Coin(P), k=11), range(4)), (tuner(Coin(P)), range(1, 5))):
        with pytest.raises(InputError, match=r"log\.jsonl: is the log of another job"):
            other.sample(prompts, log=log)
    assert log.read_bytes() == before
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(InputError, match="expected a log of rejection sampling, got another file"):
        tuner(Coin(P)).sample(range(4), log=tmp_path / "x.jsonl")
    head = log.read_text().splitlines()[0]
    for line, told in (("{}", "line 2: expected a call"), ("[", "line 2: expected JSON")):
        log.write_text(f"{head}\n{line}\n")
        with pytest.raises(InputError, match=told):
            tuner(Coin(P)).sample(range(4), log=log)


def test_a_torn_head_is_written_anew(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"log": "rejec')
    kept = RejectionLog(log, "job")
    kept.add(Call([0], [1], [1], [Kept(0, 0, "x")]))
    assert RejectionLog(log, "job").calls == kept.calls


WORDS = CharacterTokenizer("abc#")


def language_tuner(model, **options):
    generate = LanguageGenerator(model, WORDS.encode, WORDS.decode, longest=3, stop=[4], seed=5)
    return RejectionTuner(
        generate,
        lambda prompt, text: text == f"{prompt}#",
        **{"k": 3, "max_trials": 512, **options},
    )


def test_a_language_model_learns_its_own_right_responses():
    torch.manual_seed(0)
    model = SmallDecoder(len(WORDS), hidden_size=16, layers=1, decoding_dtype=torch.float32)
    recipe = language_tuner(model, deduplicate=False)
    prompts = ["a", "b", "c"]
    data = recipe.sample(prompts)
    assert (data.found.counts >= 3).all()
    assert all(one.response == f"{prompts[one.question]}#" for one in data.found.kept)
    before = data.found.n_correct.sum() / data.found.n_trials.sum()
    adam = torch.optim.Adam(model.parameters(), 0.01)
    recipe.fit(
        model,
        prompts,
        data,
        WORDS.encode,
        WORDS.encode,
        optimizer=adam,
        steps=60,
        batch_size=9,
        progress_bar=False,
    )
    after = recipe.first_pass(prompts)
    assert after.n_correct.sum() / after.n_trials.sum() > max(0.9, 2 * before)


def test_the_draws_of_a_call_depend_on_its_number():
    model = SmallDecoder(len(WORDS), hidden_size=8, layers=1, decoding_dtype=torch.float32)
    generate = LanguageGenerator(model, WORDS.encode, WORDS.decode, longest=8)
    one, two = generate(["a"], 4), generate(["a"], 4)
    assert one != two
    generate.reseed(0)
    assert generate(["a"], 4) == one and generate(["a"], 4) == two


def test_examples_hold_prompt_and_response():
    examples = tuning_examples(
        ["ab", "c"], [Kept(1, 0, "a#"), Kept(0, 2, "b#")], WORDS.encode, WORDS.encode
    )
    batch = examples[[0, 1]]
    assert batch["ids"].tolist() == [[3, 1, 4, 0], [1, 2, 2, 4]]
    assert batch["response"].sum(1).tolist() == [2, 2]
    with pytest.raises(InputError, match="kept: expected at least one right response"):
        tuning_examples(["a"], [], WORDS.encode, WORDS.encode)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"strategy": "hard"}, "strategy: expected one of"),
        ({"k": 0}, "k: expected"),
        ({"first_trials": 0}, "first_trials"),
        ({"max_trials": 0}, "max_trials"),
        ({"batch": 0}, "batch"),
    ],
)
def test_bad_options(options, told):
    with pytest.raises(InputError, match=told):
        tuner(Coin(P), **options)


def test_bad_calls(tmp_path):
    one = tuner(Coin(P))
    with pytest.raises(InputError, match="prompts: expected at least one"):
        one.sample([])
    with pytest.raises(InputError, match="log and first: expected one of them"):
        one.sample(range(4), log=tmp_path / "l.jsonl", first=one.first_pass(range(4)))
