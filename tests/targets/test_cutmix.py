"""CutMix against its definition, pixel by pixel."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.targets.cutmix import cutmix


def mixed(seed, **settings):
    images = torch.arange(4.0)[:, None, None, None].expand(4, 2, 9, 6).clone()
    generator = torch.Generator().manual_seed(seed)
    return images, cutmix(images, torch.eye(4), generator=generator, **settings)


@pytest.mark.parametrize("seed", range(8))
def test_each_pixel_is_of_the_image_or_its_partner(seed):
    images, found = mixed(seed)
    partner = images[found.partner]
    own = found.inputs == images
    assert bool((own | (found.inputs == partner)).all())
    moved = found.partner != torch.arange(4)
    share = own[moved].double().mean(dim=(1, 2, 3))
    torch.testing.assert_close(share, torch.full_like(share, found.coefficient))
    wanted = found.coefficient * torch.eye(4)
    wanted = wanted + (1 - found.coefficient) * torch.eye(4)[found.partner]
    torch.testing.assert_close(found.targets[0], wanted)


def test_the_patch_is_one_rectangle_the_same_in_all_images():
    for seed in range(20):
        images, found = mixed(seed)
        foreign = (found.inputs != images).any(0)[0]
        rows, columns = foreign.any(1).nonzero(), foreign.any(0).nonzero()
        if len(rows):
            inside = foreign[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert bool(inside.all())
            assert inside.sum() == foreign.sum()


def test_coefficients_spread_over_the_interval():
    found = [mixed(seed)[1].coefficient for seed in range(200)]
    assert min(found) < 0.25
    assert max(found) > 0.95
    assert 0.5 < sum(found) / len(found) < 0.85


def test_nothing_is_mixed_at_alpha_0_and_nothing_given_is_changed():
    images, found = mixed(0, alpha=0.0)
    assert found.coefficient == 1.0
    assert torch.equal(found.inputs, images)
    before = images.clone()
    cutmix(images, generator=torch.Generator().manual_seed(1))
    assert torch.equal(images, before)


def test_bad_input():
    with pytest.raises(InputError, match="images: expected shape"):
        cutmix(torch.zeros(3, 4))
    with pytest.raises(InputError, match="expected equal lengths"):
        cutmix(torch.zeros(3, 4, 4), torch.eye(2))
    with pytest.raises(InputError, match=r"targets\[0\]: expected floating-point"):
        cutmix(torch.zeros(3, 4, 4), torch.tensor([0, 1, 2]))
    with pytest.raises(InputError, match="alpha: expected"):
        cutmix(torch.zeros(3, 4, 4), alpha=-1.0)
