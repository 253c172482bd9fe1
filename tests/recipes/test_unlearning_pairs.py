import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import TensorDataset

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.recipes.unlearning_pairs import (
    ConsecutivePasses,
    JoinedExamples,
    PairedBatches,
    unlearning_examples,
)

sizes = st.integers(1, 40)


@settings(deadline=None)
@given(first=sizes, second=sizes, pairs=sizes, repeats=st.integers(1, 3), epoch=st.integers(0, 3))
def test_pairs_go_once_through_the_smaller_set(first, second, pairs, repeats, epoch):
    plan = PairedBatches(first, second, pairs, repeats=repeats, seed=3)
    batches = [plan.batch(epoch, place, 0.0) for place in range(len(plan))]
    for place, batch in enumerate(batches):
        assert np.array_equal(batch, batches[place // repeats * repeats])
        assert (batch[::2] < first).all()
        assert (batch[1::2] >= first).all()
        assert (batch < first + second).all()
        assert 0 < len(batch) <= 2 * pairs
    seen = np.concatenate(batches[::repeats])
    assert len(np.unique(seen)) == len(seen) == 2 * min(first, second)


def test_pairs_depend_on_seed_and_epoch_alone():
    def drawn(seed, epoch):
        return PairedBatches(9, 20, 4, seed=seed).batch(epoch, 1, 0.0).tolist()

    assert drawn(0, 2) == drawn(0, 2)
    assert drawn(0, 2) != drawn(0, 1)
    assert drawn(0, 2) != drawn(1, 2)


@settings(deadline=None)
@given(first=sizes, second=sizes, size=sizes, skip=st.booleans())
def test_passes_follow_one_another(first, second, size, skip):
    plan = ConsecutivePasses(first, second, size, skip_first=skip)
    seen = np.concatenate([plan.batch(1, place, 0.0) for place in range(len(plan))])
    if not skip:
        assert sorted(seen[:first]) == list(range(first))
        seen = seen[first:]
    assert sorted(seen) == list(range(first, first + second))


@settings(deadline=None)
@given(data=st.data(), first=sizes, second=sizes)
def test_joined_examples_are_those_of_one_long_source(data, first, second):
    index = data.draw(st.lists(st.integers(0, first + second - 1), min_size=1))
    x = torch.arange(first + second)
    joined = JoinedExamples(TensorExamples(x=x[:first]), TensorExamples(x=x[first:]), ("x",))
    assert len(joined) == first + second
    assert joined[index]["x"].tolist() == index


class Images(torch.utils.data.Dataset):
    """A data set as those of torchvision: an image and a class."""

    def __len__(self):
        return 3

    def __getitem__(self, place):
        return torch.full((1, 2, 2), float(place)), place


def hugging_face():
    import datasets

    columns = {"x": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], "label": [0, 1, 2]}
    return datasets.Dataset.from_dict(columns)


@pytest.mark.parametrize(
    "source",
    [
        (torch.zeros(3, 2), torch.arange(3)),
        (np.zeros((3, 2)), [0, 1, 2]),
        TensorDataset(torch.zeros(3, 2), torch.arange(3)),
        Images(),
        hugging_face(),
        {"x": torch.zeros(3, 2), "label": torch.arange(3)},
    ],
)
def test_sources_of_every_kind(source):
    examples = unlearning_examples("forget", source)
    joined = JoinedExamples(examples, examples, ("x", "label"))
    assert len(joined) == 6
    batch = joined[[5, 0]]
    assert batch["label"].tolist() == [2, 0]
    assert batch["x"].shape[0] == 2


@pytest.mark.parametrize("source", [torch.zeros(3, 2), TensorDataset(torch.zeros(3, 2))])
def test_labels_are_asked_for_only_where_they_are_needed(source):
    assert len(unlearning_examples("forget", source, labelled=False)) == 3
    with pytest.raises(InputError, match="forget: expected a column 'label'"):
        unlearning_examples("forget", source)


@pytest.mark.parametrize(
    "source", [torch.zeros(0, 2), [], {"x": torch.zeros(0)}, TensorDataset(torch.zeros(0, 2))]
)
def test_nothing_to_forget_is_refused(source):
    with pytest.raises(InputError, match="forget: expected at least one example, got none"):
        unlearning_examples("forget", source, labelled=False)


def test_a_missing_column_is_named():
    with pytest.raises(InputError, match="remain: expected a column 'pixels', got the columns x"):
        unlearning_examples("remain", {"x": torch.zeros(3)}, x="pixels", labelled=False)
