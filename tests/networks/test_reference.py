import pytest
import torch
from torch import nn

from gradatim.core.errors import InputError
from gradatim.networks.reference import MLP, SmallConvNet


def test_mlp_is_its_layers_one_after_another():
    network = MLP((12, 8, 6, 3), activation=nn.Tanh)
    images = torch.randn(5, 3, 4)
    first, second = (layer for layer in network.body if isinstance(layer, nn.Linear))
    hidden = second(first(images.flatten(1)).tanh()).tanh()
    torch.testing.assert_close(network.features(images), hidden)
    torch.testing.assert_close(network(images), network.head(hidden))
    assert sum(p.numel() for p in network.parameters()) == 12 * 8 + 8 + 8 * 6 + 6 + 6 * 3 + 3


def test_mlp_of_two_sizes_is_linear():
    network = MLP((4, 2))
    assert torch.equal(network(torch.ones(1, 4)), network.head(torch.ones(1, 4)))


@pytest.mark.parametrize(
    "network", [MLP((9, 32, 2), dropout=0.5), SmallConvNet((32,), 2, dropout=0.5)]
)
def test_dropout_acts_in_training_only(network):
    images = torch.randn(4, 1, 3, 3)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("side", [8, 14, 28])
def test_small_conv_net_takes_any_size(batch_norm, side):
    network = SmallConvNet((8, 16), classes=5, in_channels=3, batch_norm=batch_norm)
    images = torch.randn(2, 3, side, side)
    assert network.features(images).shape == (2, 16)
    assert network(images).shape == (2, 5)
    assert network.body[:-3](images).shape[2:] == (-(-side // 4),) * 2
    network(images).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_small_conv_net_learns_where_a_bright_side_is():
    torch.manual_seed(0)
    images, labels = torch.rand(64, 1, 8, 8), torch.arange(64) % 2
    images[labels == 1, :, :, ::2] += 1
    network = SmallConvNet((8, 8), 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    assert (network(images).argmax(1) == labels).double().mean() > 0.95


def test_errors_name_the_argument():
    with pytest.raises(InputError, match="sizes: expected at least two widths"):
        MLP((4,))
    with pytest.raises(InputError, match="dropout: expected a number in"):
        MLP((4, 2), dropout=1.0)
    with pytest.raises(InputError, match="channels: expected at least one width"):
        SmallConvNet((), 2)
