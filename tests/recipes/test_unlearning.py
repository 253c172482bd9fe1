"""Unlearning of language models: losses by hand, plans of pairs, and an end in time."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import kl_div, logsigmoid

from gradatim.core.errors import InputError
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.forget_retain import (
    ForgetRetainBatches,
    ForgetRetainExamples,
    response_lengths,
    response_log_probabilities,
)
from gradatim.recipes.unlearning import METHODS, Unlearner, UnlearningStep
from gradatim.recipes.unlearning_guard import CollapseGuard, Watch
from gradatim.training.fit import fit
from gradatim.training.history import NonFiniteLossError

PROMPTS = [[1, 2], [3], [1, 4, 5]]
FORGET = ResponseExamples(PROMPTS, as_responses([[6, 7, 8], [9, 6], [7, 7, 9, 8]]))
RETAIN = ResponseExamples([[2], [4, 4]], as_responses([[8, 9], [6, 8, 6]]))
REFUSALS = ResponseExamples(PROMPTS, as_responses([[0, 1], [0, 1, 1], [0]]))
sizes = st.integers(1, 12)


def decoder(seed=0):
    torch.manual_seed(seed)
    return SmallDecoder(10, hidden_size=8, layers=1).double()


def rows_of(examples):
    """Ids and response flags, a row at a time and without padding."""
    for row in range(len(examples)):
        batch = examples[[row]]
        yield batch["ids"][0], batch["response"][0]


def predictions(model, ids):
    return model.logits(model(ids[None], torch.ones_like(ids[None], dtype=torch.bool)))[0, :-1]


def responses(model, examples):
    """Log-probabilities of the response tokens of each row."""
    return [
        predictions(model, ids).log_softmax(1).gather(1, ids[1:, None])[:, 0][response[1:]]
        for ids, response in rows_of(examples)
    ]


def by_hand(method, model, before, retain, beta):
    loss, _, kept = method.partition("+")
    logp, reference = ([row.sum() for row in responses(one, FORGET)] for one in (model, before))
    idk, idk_before = ([row.sum() for row in responses(m, REFUSALS)] for m in (model, before))
    ratio = torch.stack(logp) - torch.stack(reference).detach()
    moved = torch.stack(idk) - torch.stack(idk_before).detach()
    value = {
        "npo": lambda: -2 / beta * logsigmoid(-beta * ratio).mean(),
        "ga": lambda: torch.cat(responses(model, FORGET)).mean(),
        "idk": lambda: -torch.cat(responses(model, REFUSALS)).mean(),
        "dpo": lambda: -2 / beta * logsigmoid(beta * (moved - ratio)).mean(),
        "kto": lambda: -2 / beta * logsigmoid(moved.mean().detach() - beta * ratio).mean(),
    }[loss]()
    if kept == "rt":
        value = value - 3 * torch.cat(responses(model, retain)).mean()
    if kept == "kl":
        now, then = (
            torch.cat([predictions(one, ids).log_softmax(1) for ids, _ in rows_of(retain)])
            for one in (model, before)
        )
        value = value + 3 * kl_div(now, then.detach(), reduction="batchmean", log_target=True)
    return value


@pytest.mark.parametrize("method", METHODS)
def test_losses_and_gradients_by_hand(method):
    before = decoder()
    model = copy.deepcopy(before)
    step = UnlearningStep(method, beta=0.5, retain_weight=3.0, chunk_tokens=2)
    examples, batches = step.pairs(model, FORGET, RETAIN, refusals=REFUSALS, batch_size=3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, dtype=weight.dtype))
    positions = batches.batch(0, 0, 0.0)
    pairs = examples[positions.tolist()]
    loss = step.step(model, pairs, None)
    assert loss.count == 3
    retain = RETAIN
    if step.kept:
        rows = positions % len(RETAIN)
        retain = _selected(RETAIN, rows)
    expected = by_hand(method, model, before, retain, 0.5)
    parameters = list(model.parameters())
    torch.testing.assert_close(loss.sum / loss.count, expected, atol=1e-5, rtol=1e-5)
    got = torch.autograd.grad(loss.sum / loss.count, parameters, allow_unused=True)
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def _selected(examples, rows):
    """Some rows of examples, as examples."""
    found = [examples[[int(row)]] for row in rows]
    prompts = [one["ids"][0][~one["response"][0]].tolist() for one in found]
    return ResponseExamples(
        prompts, as_responses([one["ids"][0][one["response"][0]].tolist() for one in found])
    )


def test_npo_a_token_divides_by_lengths():
    model = decoder()
    step = UnlearningStep("npo", beta=0.5, per_token=True)
    examples, _ = step.pairs(model, FORGET)
    with torch.no_grad():
        model.head.weight.mul_(1.5)
    loss = step.step(model, examples[[0, 1, 2]], None)
    ratio = (
        response_log_probabilities(model, FORGET, dtype=torch.float32)
        - examples.rows["forget_reference"]
    ) / response_lengths(FORGET)
    expected = -2 / 0.5 * logsigmoid(-0.5 * ratio).mean()
    torch.testing.assert_close((loss.sum / loss.count).float(), expected)
    expected_weight = 2 * torch.sigmoid(0.5 * ratio).mean()
    torch.testing.assert_close(loss.logs["remaining_memory"].float(), expected_weight)


@settings(deadline=None)
@given(forget=sizes, retain=st.integers(0, 12), batch=sizes, seed=st.integers(0, 5))
def test_pairs_come_once_and_in_turn(forget, retain, batch, seed):
    plan = ForgetRetainBatches(forget, retain, batch, seed=seed)
    kept = max(retain, 1)
    seen = []
    for epoch in range(3):
        rows = np.concatenate([plan.batch(epoch, place, 0.0) for place in range(len(plan))])
        assert sorted(rows // kept) == list(range(forget))
        seen += (rows % kept).tolist()
    for start in range(0, len(seen) - kept + 1, kept):
        assert sorted(seen[start : start + kept]) == list(range(kept))
    fresh = ForgetRetainBatches(forget, retain, batch, seed=seed)
    last = len(plan) - 1
    assert np.array_equal(fresh.batch(2, last, 0.0), plan.batch(2, last, 0.0))


def test_a_pair_holds_both_rows():
    rows = {"forget_reference": torch.tensor([0.0, 1.0, 2.0])}
    pairs = ForgetRetainExamples(FORGET, RETAIN, refusals=REFUSALS, rows=rows)
    batch = pairs[[2 * 2 + 1, 0]]
    assert batch["forget_ids"].tolist() == FORGET[[2, 0]]["ids"].tolist()
    assert batch["retain_response"].tolist() == RETAIN[[1, 0]]["response"].tolist()
    assert batch["refusal_mask"].tolist() == REFUSALS[[2, 0]]["mask"].tolist()
    assert batch["forget_reference"].tolist() == [2.0, 0.0]


def test_watch_reads_means():
    model = decoder()
    found = Watch(FORGET, RETAIN).figures(model)
    forget, retain = responses(model, FORGET), responses(model, RETAIN)
    assert found["forget_loss"] == pytest.approx(-torch.cat(forget).mean().item(), rel=1e-5)
    assert found["retain_loss"] == pytest.approx(-torch.cat(retain).mean().item(), rel=1e-5)
    geometric = np.mean([row.mean().exp().item() for row in forget])
    assert found["forget_probability"] == pytest.approx(geometric, rel=1e-5)
    assert set(Watch(FORGET, rows=1).figures(model)) == {"forget_loss", "forget_probability"}


def weights_of(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def test_npo_forgets_and_keeps():
    torch.manual_seed(0)
    model = SmallDecoder(10, hidden_size=16, layers=1)
    learner = Unlearner("idk", lr=0.02, epochs=60, weight_decay=0.0)
    both = ResponseExamples(
        [*PROMPTS, [2], [4, 4]],
        as_responses([[6, 7, 8], [9, 6], [7, 7, 9, 8], [8, 9], [6, 8, 6]]),
    )
    learner.fit(model, both, refusals=both)
    before = Watch(FORGET, RETAIN).figures(model)
    assert before["forget_probability"] > 0.9 and before["retain_loss"] < 0.1
    unlearner = Unlearner("npo+rt", lr=0.01, epochs=60, forget_target=0.1)
    outcome = unlearner.fit(model, FORGET, RETAIN)
    after = Watch(FORGET, RETAIN).figures(model)
    assert outcome.reason == "forgotten" and outcome.step == outcome.steps < 60
    assert after["forget_probability"] <= 0.1
    assert after["retain_loss"] < before["retain_loss"] + math.log(2)
    assert outcome.curve[0]["step"] == 0
    assert outcome.curve[-1]["forget_probability"] == pytest.approx(after["forget_probability"])
    assert 0 < outcome.history[-1]["remaining_memory"] < 1


def test_a_collapse_is_taken_back():
    model = decoder().float()
    outcome = Unlearner("ga", lr=0.05, epochs=50, perplexity_growth=1.5).fit(model, FORGET, RETAIN)
    assert outcome.reason == "collapse" and outcome.step < outcome.steps < 50
    rise = outcome.curve[-1]["retain_loss"] - outcome.curve[0]["retain_loss"]
    assert rise > math.log(1.5)
    kept = next(row for row in outcome.curve if row["step"] == outcome.step)
    assert Watch(FORGET, RETAIN).figures(model)["retain_loss"] == pytest.approx(
        kept["retain_loss"], rel=1e-6
    )
    assert kept["retain_loss"] - outcome.curve[0]["retain_loss"] <= math.log(1.5)


def test_without_a_criterion_ascent_goes_on():
    model = decoder().float()
    outcome = Unlearner("ga", lr=0.05, epochs=30, perplexity_growth=None).fit(model, FORGET, RETAIN)
    assert (outcome.reason, outcome.step, outcome.steps) == ("", 30, 30)


class Breaking(SmallDecoder):
    """From its third training pass on its outputs are not numbers."""

    passes = 0

    def forward(self, ids, mask):
        hidden = super().forward(ids, mask)
        self.passes += torch.is_grad_enabled()
        return hidden * (torch.nan if self.training and self.passes > 2 else 1.0)


def test_a_loss_that_is_not_finite_keeps_the_weights_before(tmp_path):
    torch.manual_seed(0)
    model = Breaking(10, hidden_size=8, layers=1)
    start = weights_of(model)
    outcome = Unlearner("ga", lr=0.01, epochs=9).fit(
        model, FORGET, RETAIN, checkpoint=tmp_path, checkpoint_every=1
    )
    assert (outcome.reason, outcome.step, outcome.history) == ("non-finite", 2, [])
    two = SmallDecoder(10, hidden_size=8, layers=1)
    two.load_state_dict(start)
    unlearner = Unlearner("ga", lr=0.01, epochs=9)
    step = CutAfter("ga", updates=2)
    unlearner.step = step
    with pytest.raises(KeyboardInterrupt):
        unlearner.fit(two, FORGET, RETAIN)
    for name, weight in two.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
        assert weight.isfinite().all()


class CutAfter(UnlearningStep):
    """Is interrupted after some updates."""

    def __init__(self, method, *, updates, **options):
        super().__init__(method, **options)
        self.left = updates

    def step(self, model, batch, state):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().step(model, batch, state)


@pytest.mark.parametrize("method", ["npo+kl", "dpo+rt"])
def test_a_run_that_was_killed_goes_on_to_the_same_bits(method, tmp_path):
    options = {"lr": 0.01, "epochs": 4, "batch_size": 2, "seed": 3}
    given = {"refusals": REFUSALS, "checkpoint": tmp_path, "checkpoint_every": 1}
    whole, cut = decoder().float(), decoder().float()
    expected = Unlearner(method, **options).fit(whole, FORGET, RETAIN, refusals=REFUSALS)
    with pytest.raises(KeyboardInterrupt):
        Unlearner(CutAfter(method, updates=5), **options).fit(cut, FORGET, RETAIN, **given)
    again = decoder().float()
    outcome = Unlearner(method, **options).fit(again, FORGET, RETAIN, **given)
    assert outcome == expected and outcome.steps == 8
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    finished = decoder().float()
    assert Unlearner(method, **options).fit(finished, FORGET, RETAIN, **given) == expected
    assert torch.equal(finished.head.weight, whole.head.weight)


def test_a_collapse_is_remembered_by_checkpoints(tmp_path):
    outcomes, models = [], []
    for _ in range(2):
        model = decoder().float()
        unlearner = Unlearner("ga", lr=0.05, epochs=50, perplexity_growth=1.5)
        outcomes.append(unlearner.fit(model, FORGET, RETAIN, checkpoint=tmp_path))
        models.append(model)
    assert outcomes[0] == outcomes[1] and outcomes[0].reason == "collapse"
    assert torch.equal(models[0].head.weight, models[1].head.weight)


def test_guard_without_a_watched_loss_looks_at_the_target_alone():
    guard = CollapseGuard({"forget_probability": 0.9}, forget_target=0.2)
    assert guard.verdict({"forget_loss": 9.0, "forget_probability": 0.3}) == ""
    assert guard.verdict({"forget_loss": 9.0, "forget_probability": 0.2}) == "forgotten"
    assert guard.verdict({"forget_loss": math.nan, "forget_probability": 0.2}) == "collapse"


def test_gradients_are_looked_at_only_if_asked():
    model = decoder().float()
    torch.nn.init.constant_(model.head.weight, torch.nan)
    guard = CollapseGuard({}, perplexity_growth=None, check_gradients=False)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    step, examples = UnlearningStep("ga").step, ForgetRetainExamples(FORGET)
    with pytest.raises(NonFiniteLossError):
        fit(model, examples, step, optimizer=sgd, steps=2, callbacks=(guard,))
    assert guard.reason == ""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UnlearningStep("npo+gd"), "method: expected one of"),
        (lambda: UnlearningStep(beta=0), "beta: expected"),
        (lambda: Unlearner(lr=0), "lr: expected"),
        (lambda: Unlearner(precision="int8"), "precision: expected one of"),
        (lambda: Unlearner(perplexity_growth=1.0), "perplexity_growth: expected"),
        (lambda: Unlearner(forget_target=2.0), "forget_target: expected"),
        (lambda: Unlearner().fit(decoder(), FORGET), "retain: method 'npo.rt' needs responses"),
        (lambda: Unlearner("idk").fit(decoder(), FORGET), "refusals: method 'idk' needs refusals"),
        (
            lambda: Unlearner("dpo").fit(decoder(), FORGET, refusals=RETAIN),
            "expected equal lengths",
        ),
        (
            lambda: ForgetRetainExamples(ResponseExamples([], as_responses([]))),
            "forget: expected at least one response",
        ),
        (
            lambda: ForgetRetainExamples(ResponseExamples([[1]], as_responses([[]]))),
            "forget: expected responses of at least one token, got none in row 0",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
