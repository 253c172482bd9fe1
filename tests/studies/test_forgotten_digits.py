import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.studies.data.forgotten_digits import PARTS, forgotten_digits


def rows(*parts):
    return {row.numpy().tobytes() for part in parts for row in part.column("x")}


@pytest.mark.parametrize("part", PARTS)
def test_sets_are_apart_and_of_the_stated_sizes(part):
    digits = forgotten_digits(part, seed=1, size=600)
    sets = [digits.forget, digits.remain, *digits.held_out.values()]
    assert len(digits.forget) + len(digits.remain) == 600
    assert [len(one) for one in digits.held_out.values()] == [300, 300]
    assert len(rows(*sets)) == sum(len(one) for one in sets) == 1200


def test_a_class_is_forgotten_as_a_whole_and_another_in_the_rehearsal():
    found = [forgotten_digits("class", seed=1, size=600, rehearsal=r) for r in (False, True)]
    for digits in found:
        assert set(digits.forget.column("label").tolist()) == {digits.forgotten_class}
        assert digits.forgotten_class not in digits.remain.column("label").tolist()
    assert found[0].forgotten_class != found[1].forgotten_class


@pytest.mark.parametrize(("part", "share"), [("examples", 0.4), ("noise", 0.6)])
def test_a_share_of_five_classes_is_forgotten_and_of_the_other_five_in_the_rehearsal(part, share):
    clean = forgotten_digits("class", seed=1, size=600)
    true = {
        x.numpy().tobytes(): int(y)
        for half in (clean.forget, clean.remain)
        for x, y in zip(half.column("x"), half.column("label"), strict=True)
    }
    classes = []
    for rehearsal in (False, True):
        digits = forgotten_digits(part, seed=1, size=600, rehearsal=rehearsal)
        lost = np.bincount([true[x.numpy().tobytes()] for x in digits.forget.column("x")], None, 10)
        total = np.bincount(list(true.values()), None, 10)
        classes.append(set(np.flatnonzero(lost)))
        for one in classes[-1]:
            assert lost[one] == round(share * total[one])
        for half, wrong in ((digits.forget, part == "noise"), (digits.remain, False)):
            for x, label in zip(half.column("x"), half.column("label"), strict=True):
                assert (true[x.numpy().tobytes()] != int(label)) == wrong
    assert classes[0] | classes[1] == set(range(10))
    assert len(classes[0]) == len(classes[1]) == 5


@pytest.mark.parametrize("part", PARTS)
def test_the_seed_draws_everything_and_nothing_else_does(part):
    one, same, other = (forgotten_digits(part, seed, size=600) for seed in (3, 3, 4))
    for name in ("x", "label"):
        assert torch.equal(one.forget.column(name), same.forget.column(name))
    assert rows(one.forget, one.remain) != rows(other.forget, other.remain)


def test_every_class_appears_as_noise():
    digits = forgotten_digits("noise", seed=0)
    assert set(digits.forget.column("label").tolist()) == set(range(10))


def test_another_part_is_refused():
    with pytest.raises(InputError, match="part: expected one of examples, class, noise"):
        forgotten_digits("pixels", seed=0)
