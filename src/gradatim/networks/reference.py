"""Small networks for studies, tests and first tries."""

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import nn

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError


class MLP(nn.Module):
    """A multilayer perceptron on flattened inputs.

    Args:
        sizes: widths from the inputs to the outputs, at least two; for example
            ``(784, 128, 10)``.
        activation: makes the non-linearity that follows every layer but the last.
        dropout: probability of dropping a hidden unit, in [0, 1).

    Raises:
        InputError: fewer than two sizes, or a probability outside [0, 1).

    >>> MLP((6, 5, 3))(torch.zeros(4, 2, 3)).shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Callable[[], nn.Module] = nn.ReLU,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise InputError(f"sizes: expected at least two widths, got {list(sizes)}")
        check_range("dropout", dropout, 0, 1, open_high=True)
        layers: list[nn.Module] = [nn.Flatten()]
        for width, following in itertools.pairwise(sizes[:-1]):
            layers += [nn.Linear(width, following), activation()]
            layers += [nn.Dropout(dropout)] if dropout else []
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(sizes[-2], sizes[-1])

    def features(self, inputs: torch.Tensor) -> torch.Tensor:
        """What the last layer sees, shape [B, sizes[-2]]."""
        hidden: torch.Tensor = self.body(inputs)
        return hidden

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs for inputs of shape [B, ...], shape [B, sizes[-1]]."""
        outputs: torch.Tensor = self.head(self.features(inputs))
        return outputs


class SmallConvNet(nn.Module):
    """A few 3 x 3 convolutions of stride 2, global average pooling, and a linear head.

    Args:
        channels: width of each convolution; each halves height and width.
        classes: number of outputs.
        in_channels: channels of the images, 1 for grey.
        batch_norm: normalize after every convolution.
        dropout: probability of dropping a pooled feature, in [0, 1).

    Raises:
        InputError: no channels, or a probability outside [0, 1).

    >>> SmallConvNet((8, 16), classes=10)(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        channels: Sequence[int],
        classes: int,
        in_channels: int = 1,
        *,
        batch_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not channels:
            raise InputError("channels: expected at least one width, got none")
        check_range("dropout", dropout, 0, 1, open_high=True)
        layers: list[nn.Module] = []
        for width, following in itertools.pairwise((in_channels, *channels)):
            layers.append(nn.Conv2d(width, following, 3, stride=2, padding=1, bias=not batch_norm))
            layers += [nn.BatchNorm2d(following)] if batch_norm else []
            layers.append(nn.ReLU())
        pooling: list[nn.Module] = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout)]
        self.body = nn.Sequential(*layers, *pooling)
        self.head = nn.Linear(channels[-1], classes)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features, shape [B, channels[-1]]."""
        pooled: torch.Tensor = self.body(images)
        return pooled

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits for images of shape [B, in_channels, H, W], shape [B, classes]."""
        logits: torch.Tensor = self.head(self.features(images))
        return logits
