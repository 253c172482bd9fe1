"""The two-level softmax against probabilities written out, and its sparse gradient."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.networks.two_level_softmax import TwoLevelSoftmax


def by_hand(model, hidden):
    """Probabilities by loops over examples and groups."""
    table = torch.zeros(len(hidden), model.num_classes)
    for row, vector in enumerate(hidden):
        first = (model.groups.weight @ vector).softmax(0)
        for group, chance in enumerate(first):
            start = group * model.group_size
            stop = min(start + model.group_size, model.num_classes)
            matrix = model.within[group].view(model.group_size, -1)[: stop - start]
            inner = (matrix @ vector).softmax(0)
            table[row, start:stop] = chance * inner
    return table


@pytest.mark.parametrize(("classes", "size"), [(10, None), (12, 3), (7, 4), (5, 5)])
def test_values_equal_probabilities_written_out(classes, size):
    torch.manual_seed(0)
    model = TwoLevelSoftmax(4, classes, size)
    hidden, labels = torch.randn(6, 4), torch.randint(classes, (6,))
    expected = by_hand(model, hidden)
    torch.testing.assert_close(model.log_probabilities(hidden).exp(), expected)
    losses = model(hidden, labels, reduction="none")
    torch.testing.assert_close(losses, -expected[torch.arange(6), labels].log())
    torch.testing.assert_close(model(hidden, labels), losses.mean())


def test_its_gradient_is_sparse_and_that_of_the_dense_loss():
    torch.manual_seed(0)
    model = TwoLevelSoftmax(4, 11)
    hidden, labels = torch.randn(5, 4), torch.tensor([0, 9, 1, 0, 10])
    model(hidden, labels).backward()
    sparse = model.within.grad.coalesce()
    assert sparse.indices().flatten().tolist() == [0, 2]
    model.within.grad = None
    (-model.log_probabilities(hidden)[torch.arange(5), labels].mean()).backward()
    torch.testing.assert_close(sparse.to_dense(), model.within.grad)
    assert TwoLevelSoftmax(4, 10_000).group_size == 100


def test_bad_input_is_told():
    model = TwoLevelSoftmax(4, 11)
    with pytest.raises(InputError, match="labels: expected classes from 0 to 10, got 1 to 11"):
        model(torch.zeros(2, 4), torch.tensor([1, 11]))
    with pytest.raises(InputError, match=r"hidden: expected shape \[m, 4\], got \[2, 3\]"):
        model(torch.zeros(2, 3), torch.tensor([1, 1]))
    with pytest.raises(InputError, match=r"group_size: expected a number in \[1, inf\), got 0"):
        TwoLevelSoftmax(4, 11, 0)
