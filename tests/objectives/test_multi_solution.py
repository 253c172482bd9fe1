"""Losses of several solutions: equations by hand, limits, and the weights in their gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.objectives.multi_solution import MODES, multi_solution_loss

EVERY = [("mle-aug", 1.0), ("mml", 1.0), ("beta-mml", 1.0), ("beta-mml", 0.25), ("mixed", 0.5)]


def draw(seed, sizes):
    """Losses and groups of problems with so many solutions each, shuffled."""
    generator = torch.Generator().manual_seed(seed)
    group = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    group = group[torch.randperm(len(group), generator=generator)]
    return 20 * torch.rand(len(group), dtype=torch.float64, generator=generator), group


def by_hand(nll, group, mode, beta, normalize, mle_weight=1.0, mml_weight=1.0):
    """The equations, problem by problem, with Python's numbers."""
    values = []
    for problem in range(int(group.max()) + 1):
        own = nll[group == problem].tolist()
        total = sum(own) / (len(own) if normalize else 1)
        if mode != "mle-aug":
            likely = -math.log(sum(math.exp(-beta * one) for one in own)) / beta
            total = mml_weight * likely + mle_weight * total if mode == "mixed" else likely
        values.append(total)
    return torch.tensor(values, dtype=torch.float64)


@given(
    st.integers(0, 10**6),
    st.lists(st.integers(1, 5), min_size=1, max_size=6),
    st.sampled_from(EVERY),
    st.booleans(),
)
def test_equals_the_equations(seed, sizes, kind, normalize):
    mode, beta = kind
    nll, group = draw(seed, sizes)
    options = {"mode": mode, "beta": beta, "normalize": normalize}
    if mode == "mixed":
        options |= {"mle_weight": 0.7, "mml_weight": 1.3}
    expected = by_hand(nll, group, **options)
    found = multi_solution_loss(nll, group, reduction="none", **options)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(multi_solution_loss(nll, group, **options), expected.mean())
    torch.testing.assert_close(
        multi_solution_loss(nll, group, reduction="sum", **options), expected.sum()
    )


@pytest.mark.parametrize(("mode", "beta"), [*EVERY, ("beta-mml", 1e-3)])
@pytest.mark.parametrize("normalize", [False, True])
def test_with_one_solution_every_objective_is_the_likelihood_loss(mode, beta, normalize):
    nll = torch.tensor([3.0, 0.5, 700.0], dtype=torch.float64)
    group = torch.tensor([2, 0, 1])
    weights = {"mle_weight": 0.25, "mml_weight": 0.75} if mode == "mixed" else {}
    found = multi_solution_loss(
        nll, group, mode=mode, beta=beta, normalize=normalize, reduction="none", **weights
    )
    torch.testing.assert_close(found, torch.tensor([0.5, 700.0, 3.0], dtype=torch.float64))


def test_two_certain_solutions_have_the_marginal_loss_minus_log_2():
    zeros, group = torch.zeros(2, dtype=torch.float64), torch.tensor([0, 0])
    assert float(multi_solution_loss(zeros, group, mode="mml")) == pytest.approx(-math.log(2))


def test_beta_1_is_the_log_of_the_sum_of_probabilities():
    nll, group = draw(1, [4, 2, 3])
    expected = torch.stack([-torch.logsumexp(-nll[group == g], 0) for g in range(3)])
    for mode in ("mml", "beta-mml"):
        found = multi_solution_loss(nll, group, mode=mode, reduction="none")
        torch.testing.assert_close(found, expected)


def test_for_beta_to_0_the_loss_tends_to_the_mean_less_a_constant():
    nll, group = draw(2, [4])
    beta = 1e-4
    loss = multi_solution_loss(nll, group, mode="beta-mml", beta=beta)
    # The next term of the expansion is - beta / 2 times the variance, at most 0.005 here.
    assert float(loss + math.log(4) / beta) == pytest.approx(float(nll.mean()), abs=0.005)
    second = -beta / 2 * float(nll.var(correction=0))
    assert float(loss + math.log(4) / beta - nll.mean()) == pytest.approx(second, rel=1e-2)


@pytest.mark.parametrize("beta", [1.0, 0.25, 1e-3])
def test_the_gradient_of_beta_mml_is_a_softmax(beta):
    nll, group = draw(3, [3, 4])
    nll.requires_grad_()
    mode = "beta-mml"
    multi_solution_loss(nll, group, mode=mode, beta=beta, reduction="sum").backward()
    for problem in range(2):
        own = group == problem
        expected = (-beta * nll.detach()[own]).softmax(0)
        torch.testing.assert_close(nll.grad[own], expected)
    loss = lambda x: multi_solution_loss(x, group, mode=mode, beta=beta)  # noqa: E731
    assert torch.autograd.gradcheck(loss, nll)


def test_a_small_beta_keeps_one_solution_from_taking_all_of_the_gradient():
    def share(beta):
        nll = torch.tensor([2.0, 12.0], dtype=torch.float64, requires_grad=True)
        multi_solution_loss(nll, torch.tensor([0, 0]), mode="beta-mml", beta=beta).backward()
        return float(nll.grad[1])

    assert share(1.0) < 1e-4 < 0.05 < share(0.25) < 0.3 < share(0.01) < 0.5


def test_the_part_of_all_solutions_is_not_scaled_by_beta():
    nll, group = draw(4, [3, 2])
    loss = [multi_solution_loss(nll, group, mode="mixed", beta=b, mml_weight=0.0) for b in (1, 0.1)]
    torch.testing.assert_close(loss[0], loss[1])
    torch.testing.assert_close(loss[0], multi_solution_loss(nll, group))


def test_lengths_bring_short_solutions_to_the_longest_of_their_problem():
    nll = torch.tensor([3.0, 4.0, 5.0])
    group, lengths = torch.tensor([0, 0, 1]), torch.tensor([10, 5, 3])
    found = multi_solution_loss(nll, group, lengths=lengths, reduction="none")
    assert found.tolist() == [3.0 + 2 * 4.0, 5.0]


def test_problems_without_a_solution_count_for_nothing():
    nll, group = torch.tensor([3.0, 5.0], requires_grad=True), torch.tensor([1, 3])
    for mode in MODES:
        values = multi_solution_loss(nll, group, mode=mode, problems=6, reduction="none")
        weight = 2.0 if mode == "mixed" else 1.0
        assert values.tolist() == [0, 3.0 * weight, 0, 5.0 * weight, 0, 0]
        mean = multi_solution_loss(nll, group, mode=mode, problems=6)
        assert mean.item() == 4.0 * weight
    empty = torch.zeros(0, requires_grad=True)
    nothing = multi_solution_loss(empty, torch.zeros(0, dtype=torch.long), mode="mml")
    nothing.backward()
    assert nothing.item() == 0.0


def test_impossible_and_broken_solutions():
    group = torch.tensor([0, 0, 1])
    one = torch.tensor([math.inf, 2.0, 1.0], requires_grad=True)
    loss = multi_solution_loss(one, group, mode="mml", reduction="none")
    assert loss.tolist() == [2.0, 1.0]
    loss.sum().backward()
    assert one.grad.tolist() == [0.0, 1.0, 1.0]
    all_of_them = torch.tensor([math.inf, math.inf, 1.0])
    assert multi_solution_loss(all_of_them, group, mode="mml", reduction="none")[0] == math.inf
    broken = torch.tensor([math.nan, 2.0, 1.0])
    for mode in MODES:
        assert multi_solution_loss(broken, group, mode=mode, reduction="none")[0].isnan()


def test_sums_in_half_precision_are_taken_in_float32():
    nll = torch.full((64,), 100.0, dtype=torch.bfloat16)
    loss = multi_solution_loss(nll, torch.zeros(64, dtype=torch.long))
    assert loss.dtype == torch.float32 and float(loss) == 6400.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "all"}, "mode: expected one of mle-aug, mml, beta-mml, mixed, got 'all'"),
        ({"mode": "beta-mml", "beta": 0.0}, r"beta: expected a number in \(0, 1\], got 0"),
        ({"mode": "mixed", "beta": 1.5}, r"beta: expected a number in \(0, 1\], got 1.5"),
        ({"beta": 0.5}, "beta: expected 1 for mode 'mle-aug', got 0.5"),
        ({"mode": "mml", "beta": 0.5}, "beta: expected 1 for mode 'mml', got 0.5"),
        ({"group": torch.tensor([0, 1])}, r"group: expected the shape of nll \[3\], got \[2\]"),
        ({"nll": torch.zeros(3, 1)}, r"nll: expected shape \[K\], got \[3, 1\]"),
        ({"lengths": torch.ones(2)}, r"lengths: expected the shape of nll \[3\], got \[2\]"),
        ({"problems": -1}, "problems: expected a number in"),
        ({"reduction": "all"}, "reduction: expected one of mean, sum, none"),
    ],
)
def test_bad_input(options, message):
    given = {"nll": torch.zeros(3), "group": torch.tensor([0, 0, 1]), **options}
    with pytest.raises(InputError, match=message):
        multi_solution_loss(**given)
