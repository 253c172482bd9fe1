import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.metrics.membership_attack import membership_attack


def outputs(count, sharpness, seed):
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(count, 5))
    logits[np.arange(count), generator.integers(5, size=count)] += sharpness
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_an_overfitted_model_gives_its_members_away_and_an_unlearned_one_does_not():
    members, others, unseen = outputs(300, 9, 0), outputs(300, 2, 1), outputs(300, 2, 2)
    before = membership_attack(members, others, outputs(300, 9, 3), unseen)
    after = membership_attack(members, others, outputs(300, 2, 4), unseen)
    assert before > 0.9
    assert abs(after - 0.5) < 0.06


def test_against_a_threshold_on_one_number():
    members = np.array([[0.1, 0.9]] * 20 + [[0.3, 0.7]] * 20)
    others = np.array([[0.5, 0.5]] * 20 + [[0.4, 0.6]] * 20)
    targets = np.array([[0.2, 0.8], [0.45, 0.55], [0.05, 0.95], [0.52, 0.48]])
    assert membership_attack(members, others, targets) == 0.5
    assert membership_attack(members, others, targets, others[:1]) == 0.75


def test_the_order_of_classes_does_not_matter():
    members, others, targets = outputs(80, 5, 0), outputs(80, 2, 1), outputs(80, 3, 2)
    order = np.argsort(np.random.default_rng(0).random(targets.shape), axis=1)
    shuffled = np.take_along_axis(targets, order, axis=1)
    assert membership_attack(members, others, targets) == membership_attack(
        members, others, shuffled
    )
    assert np.array_equal(targets, outputs(80, 3, 2))


def test_many_members_do_not_make_everything_a_member():
    members, others, targets = outputs(100, 2, 0), outputs(100, 2, 1), outputs(500, 2, 2)
    share = membership_attack(members, others, targets)
    assert 0.3 < share < 0.7
    repeated = membership_attack(np.repeat(members, 9, axis=0), others, targets)
    assert repeated == pytest.approx(share, abs=0.02)


def test_tensors_and_arrays_agree():
    tables = outputs(40, 5, 0), outputs(40, 2, 1), outputs(40, 3, 2)
    tensors = [torch.from_numpy(table).requires_grad_() for table in tables]
    assert membership_attack(*tensors) == membership_attack(*tables)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("nonmember_probs", np.ones((3, 4))),
        ("target_probs", np.ones((0, 5))),
        ("unseen_probs", np.ones(5)),
        ("target_probs", np.full((2, 5), np.nan)),
    ],
)
def test_bad_tables(name, table):
    good = outputs(5, 1, 0)
    tables = dict.fromkeys(("member_probs", "nonmember_probs", "target_probs"), good)
    with pytest.raises(InputError, match=f"{name}: expected"):
        membership_attack(**{**tables, name: table})
