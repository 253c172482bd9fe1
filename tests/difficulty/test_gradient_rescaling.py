"""The rescaling of gradients against autograd and the paper's short form."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.difficulty.gradient_rescaling import gradient_rescaling, rescaling_of_errors
from gradatim.objectives.soft_targets import soft_target_cross_entropy
from gradatim.targets.labels import mix_labels


def predictions(seed, n=200, classes=5):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (n,), generator=generator)
    past = (2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)).softmax(1)
    return logits, past, labels


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_it_is_the_ratio_of_gradients(share):
    logits, past, labels = predictions(0)
    lengths = []
    for weight in (share, 0.0):
        z = logits.clone().requires_grad_()
        target = mix_labels(labels, past, weight)
        soft_target_cross_entropy(z, target, reduction="sum").backward()
        lengths.append(z.grad.abs().sum(1))
    found = gradient_rescaling(logits.softmax(1), past, labels, share)
    torch.testing.assert_close(found, lengths[0] / lengths[1])


def test_the_short_form_holds_where_wrong_classes_keep_their_share():
    logits, past, labels = predictions(1, n=4000)
    now, share = logits.softmax(1), 0.4
    wrong = torch.ones_like(now, dtype=torch.bool).scatter(1, labels[:, None], False)
    holds = ((now >= share * past) | ~wrong).all(1)
    error, past_error = (1 - p.gather(1, labels[:, None])[:, 0] for p in (now, past))
    short = rescaling_of_errors(error, past_error, share)
    exact = gradient_rescaling(now, past, labels, share)
    assert 50 < int(holds.sum()) < 3950
    torch.testing.assert_close(short[holds], exact[holds])
    assert bool((exact[~holds] > short[~holds]).all())


def test_hand_value():
    now, past = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.6, 0.3, 0.1]])
    found = gradient_rescaling(now, past, torch.tensor([0]), 0.5)
    torch.testing.assert_close(found, torch.tensor([1 - 0.5 * 0.4 / 0.3]))


def test_extremes():
    sure = torch.tensor([[1.0, 0.0], [1.0, 1e-30]])
    past = torch.tensor([[0.5, 0.5], [1.0, 1e-30]])
    found = gradient_rescaling(sure, past, torch.tensor([0, 0]), 0.8)
    torch.testing.assert_close(found, torch.tensor([1.0, 0.2]))
    zero = torch.zeros(1)
    assert rescaling_of_errors(zero, torch.ones(1), 0.8).tolist() == [1.0]
    same = torch.tensor([0.2, 0.9])
    torch.testing.assert_close(rescaling_of_errors(same, same, 0.8), torch.full((2,), 0.2))


def test_bad_input():
    p = torch.full((2, 3), 1 / 3)
    with pytest.raises(InputError, match="share: expected"):
        gradient_rescaling(p, p, torch.tensor([0, 1]), 1.5)
    with pytest.raises(InputError, match="past: expected"):
        gradient_rescaling(p, p[:1], torch.tensor([0, 1]), 0.5)
    with pytest.raises(InputError, match="labels: expected"):
        gradient_rescaling(p, p, torch.tensor([0]), 0.5)
    with pytest.raises(InputError, match="past_error: expected"):
        rescaling_of_errors(p[:, 0], p[:1, 0], 0.5)
