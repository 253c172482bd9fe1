import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from gradatim.core.errors import InputError
from gradatim.networks.reference import SmallConvNet
from gradatim.objectives.representation_forgetting import (
    alignment_contrast,
    extractor_unlearning_loss,
)
from gradatim.recipes.label_agnostic_forgetting import (
    LabelAgnosticUnlearner,
    join_classifier,
    split_classifier,
)
from gradatim.recipes.unlearning_pairs import PairedBatches
from tests.recipes.test_classifier_unlearning import accuracy, blobs

OPTIONS = {"lr_ue": 0.01, "lr_ra": 0.02, "epochs": 10, "batch_size": 8, "hidden": (16,)}


@pytest.fixture(scope="module")
def world():
    forget, remain = blobs()
    torch.manual_seed(0)
    extractor = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8))
    head = nn.Linear(8, 3)
    x, labels = (torch.cat(pair) for pair in zip(forget, remain, strict=True))
    optimizer = torch.optim.Adam([*extractor.parameters(), *head.parameters()], 0.02)
    for _ in range(100):
        optimizer.zero_grad()
        functional.cross_entropy(head(extractor(x)), labels).backward()
        optimizer.step()
    return extractor, head, forget, remain


def test_a_class_is_forgotten_more_than_the_others_and_the_modules_are_left_alone(world):
    extractor, head, forget, remain = world
    before = copy.deepcopy([extractor.state_dict(), head.state_dict()])
    unlearner = LabelAgnosticUnlearner(extractor, head, **OPTIONS).fit(forget[0], remain[0])
    assert accuracy(nn.Sequential(extractor, head), forget) > 0.9
    assert accuracy(unlearner.model_, remain) > 0.9
    assert accuracy(unlearner.model_, forget) < accuracy(unlearner.model_, remain) - 0.2
    for module, kept in zip((extractor, head), before, strict=True):
        for name, value in module.state_dict().items():
            assert torch.equal(value, kept[name])
    for one, other in zip(head.parameters(), unlearner.head_.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_is_forgotten_becomes_unfamiliar(world):
    extractor, head, forget, remain = world
    unlearner = LabelAgnosticUnlearner(extractor, head, **OPTIONS).fit(forget[0], remain[0])
    lost, kept = (unlearner.familiarity_difficulty(part[0]) for part in (forget, remain))
    lost_before, kept_before = (
        unlearner.familiarity_difficulty(part[0], original=True) for part in (forget, remain)
    )
    assert lost.mean() / lost_before.mean() > 2 * kept.mean() / kept_before.mean()


def test_labels_are_not_read(world):
    extractor, head, forget, remain = world

    class Unreadable(torch.utils.data.Dataset):
        def __len__(self):
            return len(remain[0])

        def __getitem__(self, place):
            return {"x": remain[0][place]}

    class Named(torch.utils.data.Dataset):
        def __len__(self):
            return len(forget[0])

        def __getitem__(self, place):
            return forget[0][place], "a label that is no number"

    options = {**OPTIONS, "epochs": 1}
    made = [
        LabelAgnosticUnlearner(extractor, head, **options).fit(*data).model_
        for data in (
            (forget[0], remain[0]),
            (TensorDataset(*forget), TensorDataset(*remain)),
            (TensorDataset(*forget), TensorDataset(remain[0], -7 - remain[1])),
            (TensorDataset(forget[0]), Unreadable()),
            (Named(), TensorDataset(*remain)),
        )
    ]
    for other in made[1:]:
        for one, two in zip(made[0].parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two)


def test_updates_are_those_of_a_loop_written_out(world):
    extractor, head, forget, remain = world
    options = {**OPTIONS, "epochs": 2, "seed": 4, "tau": 5.0}
    unlearner = LabelAgnosticUnlearner(extractor, head, **options).fit(forget[0], remain[0])
    mine = copy.deepcopy(extractor)
    both = torch.cat([forget[0], remain[0]])
    with torch.no_grad():
        center, scale = mine(both).mean(0), mine(both).std(0, correction=0)
    first = torch.optim.Adam(mine.parameters(), options["lr_ue"])
    second = torch.optim.Adam(mine.parameters(), options["lr_ra"])
    plan = PairedBatches(len(forget[0]), len(remain[0]), 8, seed=4)
    for epoch in range(2):
        for place in range(len(plan)):
            rows = torch.from_numpy(plan.batch(epoch, place, 0.0))
            u, s = both[rows[::2]], both[rows[1::2]]
            normal_s, normal_u = ((mine(part) - center) / scale for part in (s, u))
            first.zero_grad()
            extractor_unlearning_loss(
                normal_s, unlearner.remaining_vae_(normal_s)[0],
                normal_u, unlearner.forgotten_vae_(normal_u)[0], reduction="sum",
            ).backward()  # fmt: skip
            first.step()
            second.zero_grad()
            alignment_contrast(
                mine(s), extractor(s).detach(), mine(u), extractor(u).detach(),
                tau=5.0, reduction="sum",
            ).backward()  # fmt: skip
            second.step()
    for one, other in zip(mine.parameters(), unlearner.extractor_.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_in_place_the_modules_themselves_are_trained(world):
    extractor, head = copy.deepcopy(world[0]), copy.deepcopy(world[1])
    options = {**OPTIONS, "epochs": 1, "in_place": True}
    unlearner = LabelAgnosticUnlearner(extractor, head, **options).fit(world[2][0], world[3][0])
    assert unlearner.extractor_ is extractor
    assert unlearner.head_ is head
    assert not torch.equal(extractor[0].weight, world[0][0].weight)


@pytest.mark.parametrize("parts", ["head", "all"])
def test_repair_trains_what_it_is_told(world, parts):
    extractor, head, forget, remain = world
    unlearner = LabelAgnosticUnlearner(extractor, head, **OPTIONS).fit(forget[0], remain[0])
    before = copy.deepcopy(unlearner.model_.state_dict())
    x, labels = remain[0][:20], 1 - remain[1][:20]
    loss = functional.cross_entropy(unlearner.model_(x), labels)
    unlearner.repair(x, labels, epochs=20, lr=0.01, parts=parts)
    assert functional.cross_entropy(unlearner.model_(x), labels) < 0.5 * loss
    changed = {n for n, v in unlearner.model_.state_dict().items() if not torch.equal(v, before[n])}
    assert {name.split(".")[0] for name in changed} == ({"1"} if parts == "head" else {"0", "1"})
    unlearner.repair(TensorDataset(remain[0], remain[1]))


def test_a_whole_convolutional_model_with_batch_norm_keeps_its_statistics():
    torch.manual_seed(0)
    model = SmallConvNet((4, 6), 3)
    images = torch.randn(40, 1, 8, 8)
    model(images)
    extractor, head = split_classifier(model, "head")
    unlearner = LabelAgnosticUnlearner(extractor, head, lr_ue=0.01, lr_ra=0.01, epochs=2)
    unlearner.fit(images[:10] + 3, images[10:])
    new = join_classifier(unlearner.extractor_, unlearner.head_, "head")
    assert isinstance(new, SmallConvNet)
    assert new.state_dict().keys() == model.state_dict().keys()
    torch.testing.assert_close(new.eval()(images), unlearner.model_(images))
    for (name, value), (_, now) in zip(model.named_buffers(), new.named_buffers(), strict=True):
        assert torch.equal(value, now), name
    assert any(
        not torch.equal(one, other)
        for one, other in zip(model.parameters(), new.parameters(), strict=True)
    )


def test_representations_of_more_dimensions_reach_the_head_as_they_are():
    torch.manual_seed(0)
    extractor = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1))
    head = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    images = torch.randn(20, 1, 6, 6)
    unlearner = LabelAgnosticUnlearner(extractor, head, epochs=1).fit(images[:5], images[5:])
    assert unlearner.model_(images).shape == (20, 2)
    assert unlearner.familiarity_difficulty(images).shape == (20,)


def test_the_authors_settings_and_fewer_examples_than_a_batch(world):
    extractor, head, forget, remain = world
    unlearner = LabelAgnosticUnlearner(
        extractor, head, standardize=False, out_activation="sigmoid", epochs=2, vae_data="remaining"
    ).fit(forget[0][:3], remain[0])
    assert unlearner.result_.step == 2 * 2
    assert {"extractor_unlearning", "representation_alignment"} <= set(
        unlearner.result_.history[-1]
    )


def test_a_dead_dimension_of_the_representation_does_no_harm(world):
    extractor, head, forget, remain = world
    dead = copy.deepcopy(extractor)
    with torch.no_grad():
        dead[2].weight[0].zero_()
    unlearner = LabelAgnosticUnlearner(dead, head, **{**OPTIONS, "epochs": 1})
    unlearner.fit(forget[0], remain[0])
    assert torch.isfinite(unlearner.model_(remain[0])).all()


def test_a_run_is_taken_up_again_and_repeats_itself(world, tmp_path):
    extractor, head, forget, remain = world
    options = {**OPTIONS, "epochs": 2}
    made = [
        LabelAgnosticUnlearner(extractor, head, checkpoint=folder, **options)
        .fit(forget[0], remain[0])
        .model_
        for folder in (None, tmp_path, tmp_path)
    ]
    for other in made[1:]:
        for one, two in zip(made[0].parameters(), other.parameters(), strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize(
    "options",
    [{"tau": 0.0}, {"lr_ue": 0.0}, {"epochs": 0}, {"vae_data": "forgotten"}, {"vae_epochs": 0}],
)
def test_bad_settings(options):
    with pytest.raises(InputError, match=next(iter(options))):
        LabelAgnosticUnlearner(nn.Identity(), nn.Identity(), **options)


def test_bad_input(world):
    extractor, head, forget, remain = world
    unlearner = LabelAgnosticUnlearner(extractor, head)
    with pytest.raises(InputError, match="x_forget: expected at least one example, got none"):
        unlearner.fit(forget[0][:0], remain[0])
    for call in (unlearner.repair, unlearner.familiarity_difficulty):
        with pytest.raises(InputError, match="expected a call of fit before"):
            call(remain[0])
    with pytest.raises(InputError, match="head: expected one of"):
        split_classifier(extractor, "classifier")
