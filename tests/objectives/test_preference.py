import math
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.objectives.preference import dpo, simpo, win_rate_regression


def draw(seed, *shape):
    generator = torch.Generator().manual_seed(seed)
    return list(-10 * torch.rand(4, *shape, dtype=torch.float64, generator=generator))


def trl_loss(token_logs, reference_logs, completion_mask, loss_type, beta):
    """TRL's own loss of a batch of chosen, then rejected rows; its trainer is never built."""
    trl = pytest.importorskip("trl", reason="compares with TRL's DPOTrainer")
    accelerator = SimpleNamespace(device="cpu", gather=lambda x: x, gather_for_metrics=lambda x: x)
    trainer = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=accelerator,
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[loss_type],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=0.0,
        use_weighting=False,
        _metrics={"train": defaultdict(list)},
        _total_train_tokens=0,
        _tp_size=1,
    )
    counted = completion_mask[:, 1:]
    zeros = torch.zeros_like(token_logs)
    outputs = SimpleNamespace(
        log_probs=token_logs * counted, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
    )
    chosen, rejected = (reference_logs * counted).sum(1).chunk(2)
    inputs = {
        "input_ids": torch.zeros_like(completion_mask),
        "attention_mask": torch.ones_like(completion_mask),
        "completion_mask": completion_mask,
        "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }
    return trl.DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, False)


@pytest.mark.parametrize(("variant", "loss_type"), [("dpo", "sigmoid"), ("ipo", "ipo")])
@pytest.mark.parametrize("beta", [0.1, 0.7])
def test_loss_and_gradient_equal_trl(variant, loss_type, beta):
    generator = torch.Generator().manual_seed(0)
    logs, reference = -torch.rand(2, 6, 9, dtype=torch.float64, generator=generator)
    logs.requires_grad_()
    lengths = torch.randint(1, 9, (6, 1), generator=generator)
    mask = ((torch.arange(10) >= 1) & (torch.arange(10) <= lengths)).long()
    try:
        theirs = trl_loss(logs, reference, mask, loss_type, beta)
    except AttributeError as error:  # other versions keep the loss elsewhere
        pytest.skip(f"this version of TRL computes the loss in another way: {error}")
    sums = [(x * mask[:, 1:]).sum(1) for x in (logs, reference)]
    if variant == "ipo":
        sums = [x / lengths.squeeze(1) for x in sums]
    (chosen, rejected), (ref_chosen, ref_rejected) = (x.chunk(2) for x in sums)
    ours = dpo(chosen, rejected, ref_chosen, ref_rejected, beta=beta, variant=variant)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        *(torch.autograd.grad(loss, logs, retain_graph=True)[0] for loss in (ours, theirs))
    )


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), beta=st.floats(0.01, 5), smoothing=st.floats(0, 0.5))
def test_it_is_binary_cross_entropy_of_the_margin(seed, beta, smoothing):
    chosen, rejected, ref_chosen, ref_rejected = draw(seed, 5)
    margin = (chosen - ref_chosen) - (rejected - ref_rejected)
    torch.testing.assert_close(
        dpo(chosen, rejected, ref_chosen, ref_rejected, beta=beta, label_smoothing=smoothing),
        functional.binary_cross_entropy_with_logits(
            beta * margin, torch.full_like(margin, 1 - smoothing)
        ),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_policy_equal_to_the_reference_has_loss_log_two(smoothing):
    chosen, rejected, _, _ = draw(0, 5)
    loss = dpo(chosen, rejected, chosen, rejected, label_smoothing=smoothing, reduction="none")
    torch.testing.assert_close(loss, torch.full_like(loss, math.log(2)))


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), beta=st.floats(0.01, 5))
def test_a_sure_win_is_ipo_and_a_sure_loss_ipo_with_both_swapped(seed, beta):
    chosen, rejected, ref_chosen, ref_rejected = given_ = draw(seed, 5)
    swapped = rejected, chosen, ref_rejected, ref_chosen
    ones = torch.ones_like(chosen)
    for win_rate, pair in ((ones, given_), (1 - ones, swapped)):
        torch.testing.assert_close(
            dpo(*given_, beta=beta, variant="win_rate", win_rate=win_rate),
            dpo(*pair, beta=beta, variant="ipo"),
        )


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), beta=st.floats(0.05, 5), rate=st.floats(0, 1))
def test_win_rate_is_mean_ipo_over_labels_less_a_constant(seed, beta, rate):
    chosen, rejected, ref_chosen, ref_rejected = given_ = draw(seed, 5)
    mean = rate * dpo(*given_, beta=beta, variant="ipo", reduction="none") + (1 - rate) * dpo(
        rejected, chosen, ref_rejected, ref_chosen, beta=beta, variant="ipo", reduction="none"
    )
    loss = dpo(
        *given_,
        beta=beta,
        variant="win_rate",
        win_rate=torch.full_like(chosen, rate),
        reduction="none",
    )
    torch.testing.assert_close(mean - loss, torch.full_like(loss, rate * (1 - rate) / beta**2))


def test_regression_on_win_rates_has_its_optimum_at_the_margin_of_ipo():
    # IPO's objective, max E_pi[p] - beta KL(pi, ref), is solved by ref * exp(p / beta).
    win_rate = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)
    reference = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()
    best = (reference + win_rate / 0.4).log_softmax(0)
    margins = (best - reference).diff()
    exact = reference + (win_rate - 0.5) / 0.4
    loss = win_rate_regression(exact, reference, win_rate, beta=0.4)
    assert loss.item() == pytest.approx(0.0, abs=1e-20)
    torch.testing.assert_close((exact - reference).diff(), margins)


def test_extreme_log_probabilities():
    far, near = torch.tensor([-1e4], requires_grad=True), torch.tensor([0.0], requires_grad=True)
    loss = dpo(far, near, torch.zeros(1), torch.full((1,), -1e4))
    loss.backward()
    assert loss.item() == pytest.approx(2000.0)
    assert far.grad.item() == pytest.approx(-0.1)
    assert near.grad.item() == pytest.approx(0.1)


def test_no_gradient_flows_into_reference_and_win_rate():
    chosen, rejected, ref_chosen, ref_rejected = (x.requires_grad_() for x in draw(0, 5))
    rate = torch.full((5,), 0.7, requires_grad=True)
    for variant, win_rate in (("dpo", None), ("ipo", None), ("win_rate", rate)):
        dpo(
            chosen, rejected, ref_chosen, ref_rejected, variant=variant, win_rate=win_rate
        ).backward()
    win_rate_regression(chosen, ref_chosen, rate).backward()
    assert chosen.grad is not None
    assert rejected.grad is not None
    assert all(x.grad is None for x in (ref_chosen, ref_rejected, rate))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"variant": "kto"}, "variant: expected one of dpo, ipo, win_rate"),
        ({"beta": 0.0}, "beta"),
        ({"label_smoothing": 0.6}, "label_smoothing"),
        ({"label_smoothing": 0.1, "variant": "ipo"}, "label_smoothing: expected 0"),
        ({"variant": "win_rate"}, "win_rate: expected probabilities"),
        ({"win_rate": torch.ones(3)}, "win_rate: expected None"),
        ({"variant": "win_rate", "win_rate": torch.ones(2)}, "win_rate: expected the shape"),
        ({"policy_chosen": torch.zeros(3, 1)}, r"policy_chosen: expected shape \[B\]"),
        ({"policy_rejected": torch.zeros(2)}, "policy_rejected: expected the shape"),
        ({"reference_chosen": torch.zeros(2)}, "reference_chosen: expected the shape"),
        ({"reference_rejected": torch.zeros(1)}, "reference_rejected: expected the shape"),
    ],
)
def test_errors(wrong, message):
    names = ("policy_chosen", "policy_rejected", "reference_chosen", "reference_rejected")
    with pytest.raises(InputError, match=message):
        dpo(**{**{name: torch.zeros(3) for name in names}, **wrong})


def test_errors_of_the_regression():
    with pytest.raises(InputError, match="reference: expected the shape of policy"):
        win_rate_regression(torch.zeros(3), torch.zeros(1), torch.zeros(3))
    with pytest.raises(InputError, match="beta"):
        win_rate_regression(torch.zeros(3), torch.zeros(3), torch.zeros(3), beta=-1.0)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_simpo_equals_trl(smoothing):
    pytest.importorskip("trl", reason="compares with TRL's CPOTrainer")
    try:
        from trl.experimental.cpo import CPOTrainer
    except ImportError:  # older versions keep it elsewhere
        from trl import CPOTrainer
    chosen, rejected, lengths, others = draw(1, 5)
    lengths, others = lengths.abs().ceil(), others.abs().ceil()
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(device="cpu"),
        loss_type="simpo",
        alpha=0.0,
        beta=2.5,
        simpo_gamma=1.2,
        label_smoothing=smoothing,
    )
    theirs = CPOTrainer.cpo_loss(trainer, chosen / lengths, rejected / others)[0]
    ours = simpo(
        chosen, rejected, lengths, others,
        beta=2.5, target_margin=1.2, label_smoothing=smoothing, reduction="none",
    )  # fmt: skip
    torch.testing.assert_close(ours, theirs)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), beta=st.floats(0.01, 5), length=st.integers(1, 50))
def test_simpo_at_equal_lengths_is_dpo_with_references_that_differ_by_the_margin(
    seed, beta, length
):
    chosen, rejected, _, _ = draw(seed, 5)
    lengths = torch.full_like(chosen, length)
    reference = torch.full_like(chosen, 0.7 * length / beta)
    torch.testing.assert_close(
        simpo(chosen, rejected, lengths, lengths, beta=beta, target_margin=0.7),
        dpo(chosen, rejected, reference, torch.zeros_like(chosen), beta=beta / length),
    )


def test_simpo_at_extreme_log_probabilities():
    far, near = torch.tensor([-1e4], requires_grad=True), torch.tensor([0.0])
    ones = torch.ones(1)
    loss = simpo(far, near, 10 * ones, ones, beta=2.0, target_margin=0.0)
    loss.backward()
    assert loss.item() == pytest.approx(2000.0)
    assert far.grad.item() == pytest.approx(-0.2)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"beta": 0.0}, "beta"),
        ({"target_margin": -0.1}, "target_margin"),
        ({"label_smoothing": 0.6}, "label_smoothing"),
        ({"policy_chosen": torch.zeros(3, 1)}, r"policy_chosen: expected shape \[B\]"),
        ({"policy_rejected": torch.zeros(2)}, "policy_rejected: expected the shape"),
        ({"chosen_lengths": torch.ones(1)}, "chosen_lengths: expected the shape"),
        ({"rejected_lengths": torch.ones(4)}, "rejected_lengths: expected the shape"),
    ],
)
def test_errors_of_simpo(wrong, message):
    names = ("policy_chosen", "policy_rejected", "chosen_lengths", "rejected_lengths")
    with pytest.raises(InputError, match=message):
        simpo(**{**{name: torch.ones(3) for name in names}, **wrong})
