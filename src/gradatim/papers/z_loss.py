"""The Z-loss and its siblings on a word model, and the factored update of their output layer.

A small network reads four words of a docstring of Python's standard library (embeddings of 32, one
ReLU layer of 128) and ranks 2,000 words by how well they follow. It is trained with log-softmax, or
with one of the losses that an output layer can be trained for at a cost that does not depend on
the number of classes: squared error, Taylor softmax, spherical softmax, Z-loss. The figure of merit
is the top-k error: how often the word that follows is not among the k highest outputs.

All losses have the same network, initial weights, batches, Adam and falling rate. Each has four
trials, and for each k the one with the lowest validation error counts, as the paper tunes the
Z-loss for each k. The difficulty of a place is the frequency rank of its word, in four decades.

In the paper the output layer learns by plain SGD, as the factored form asks. Here all losses have
Adam on full weights, since with plain SGD the comparison would be one of learning rates; that the
factored layer is the same model is claimed apart, by training a factored and a full layer behind
one network side by side. How fast it is depends on the machine: ``benchmarks/bench_z_loss.py``.

Tried on seeds 0 and 1: rates from 0.001 to 0.048, and output layers at a half, a quarter and an
eighth of the others' rate, which helps log-softmax and Taylor softmax. The Z-loss does best at far
higher rates than they, since it does not see the scale of its output weights, which grow; a
comparison at one rate would decide for the loss whose rate it is. Wishes b of 10, 20 and 28 and
sharpnesses a of 0.1 and 0.3 differ little. Label smoothing gave log-softmax next to nothing.
Spherical softmax needs an epsilon far above the usual one and still stays behind.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from gradatim.core.seeds import derive_seed, torch_generator
from gradatim.metrics.top_k import target_rank
from gradatim.networks.factored_spherical import FactoredSphericalLinear
from gradatim.objectives.spherical import (
    mse_from_logits,
    spherical_softmax_from_logits,
    sums_of_outputs,
    taylor_softmax_from_logits,
    z_loss,
    z_loss_from_logits,
)
from gradatim.studies.claims import Budget, Claim, Measurement, SeedTable
from gradatim.studies.data.library_words import WordContexts, word_contexts
from gradatim.studies.plots import Figure
from gradatim.training.factored_sgd import FactoredSGD

POPULATION = (
    "a 5-gram network of 128 hidden units over 2,000 words of the docstrings of Python's standard "
    "library, 300 updates of 128 places"
)
Ranks = NDArray[np.float64]
Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Trial = tuple[Loss, float, float]

RATES = ((0.006, 1.0), (0.012, 1.0), (0.012, 0.25), (0.024, 0.25))
"""Rates of the network, and what share of them the output layer has."""

Z_RATES, WISHES = (0.024, 0.048), (10.0, 20.0)


def _at_rates(loss: Loss) -> tuple[Trial, ...]:
    return tuple((loss, rate, share) for rate, share in RATES)


TRIALS: Mapping[str, tuple[Trial, ...]] = {
    "log-softmax": _at_rates(functional.cross_entropy),
    "squared error": _at_rates(mse_from_logits),
    "Taylor softmax": _at_rates(taylor_softmax_from_logits),
    "spherical softmax": _at_rates(partial(spherical_softmax_from_logits, eps=0.01)),
    "Z-loss": tuple(
        (partial(z_loss_from_logits, a=0.1, b=wish), rate, 1.0)
        for rate, wish in product(Z_RATES, WISHES)
    ),
}
"""The declared search space: each loss has four trials."""

KS = (1, 5, 10, 20, 50, 100)
SPHERICAL = ("squared error", "Taylor softmax", "spherical softmax")


def _least_ahead(k: int) -> Callable[[SeedTable], float]:
    return lambda t: min(_ahead(other, k)(t) for other in SPHERICAL)


def _ahead(over: str, k: int) -> Callable[[SeedTable], float]:
    group = f"k={k}"
    return lambda t: t[over].at(group).top_k_error - t["Z-loss"].at(group).top_k_error


CLAIMS = (
    *(
        Claim(
            f"The Z-loss ranks better than the other spherical losses: its top-{k} error is below "
            "that of squared error, Taylor and spherical softmax; the smallest margin.",
            _least_ahead(k),
            smallest_effect=0.005,
            unit=f"top-{k} error",
        )
        for k in (10, 20)
    ),
    Claim(
        "It ranks better than log-softmax for some k: its top-k error is lower for at least one k "
        "of 5, 10 and 20.",
        tuple(_ahead("log-softmax", k) for k in (5, 10, 20)),
        smallest_effect=0.005,
        unit="top-k error",
    ),
    Claim(
        "The factored layer is the full one: after as many steps of SGD in float64 their weights "
        "differ by less than a billionth of the largest.",
        lambda t: t["factored layer"].difference,
        threshold=1e-9,
        direction="less",
        unit="relative difference",
    ),
)

FIGURES = (
    Figure("top_k_error", over="k", title="Test error of the chosen trials, by k"),
    Figure(
        "top_10_error",
        over="decade",
        title="Top-10 error by decade of the word's frequency rank",
    ),
)


@dataclass(frozen=True)
class Sizes:
    """Words, places of the test part, files read (0: all), updates, steps of the exactness run."""

    vocabulary: int = 2000
    held_out: int = 5000
    files: int = 0
    updates: int = 300
    exact_steps: int = 60


SMOKE = Sizes(vocabulary=200, held_out=300, files=12, updates=4, exact_steps=4)
BATCH, EMBEDDING, HIDDEN = 128, 32, 128


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Train every loss with every setting, test what validation chose, then the factored layer."""
    sizes = budget.pick(smoke=SMOKE, full=Sizes())
    data = word_contexts(
        seed, vocabulary=sizes.vocabulary, held_out=sizes.held_out, most_files=sizes.files
    )
    decades = np.log10(data.words["test"] + 1).astype(int)
    for arm, trials in TRIALS.items():
        ranks = [_ranks(data, trial, sizes.updates, seed) for trial in trials]
        for k in KS:
            chosen = min(ranks, key=lambda rank: float((rank["validation"] > k).mean()))
            failed = chosen["test"] > k
            yield Measurement(arm, "top_k_error", float(failed.mean()), f"k={k}")
            if k == 10:
                for decade in np.unique(decades):
                    share = float(failed[decades == decade].mean())
                    yield Measurement(arm, "top_10_error", share, f"decade={decade + 1}")
    yield Measurement("factored layer", "difference", _difference(data, sizes.exact_steps, seed))


class _Body(nn.Sequential):
    """Words of a context to hidden units."""

    def __init__(self, words: int, order: int) -> None:
        super().__init__(
            nn.Embedding(words + 1, EMBEDDING),
            nn.Flatten(),
            nn.Linear(EMBEDDING * order, HIDDEN),
            nn.ReLU(),
        )


def _network(data: WordContexts, seed: int) -> tuple[nn.Module, nn.Linear]:
    """The network and its output layer, the same for every loss of a seed."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(derive_seed(seed, "network"))
        body = _Body(data.size, data.contexts["train"].shape[1])
        return body, nn.Linear(HIDDEN, data.size)


def _batches(
    data: WordContexts, updates: int, seed: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Contexts and words, each place of the training part once before any comes twice."""
    contexts, words = (torch.from_numpy(part["train"]) for part in (data.contexts, data.words))
    order = torch.randperm(len(words), generator=torch_generator(seed, "batches"))
    for update in range(updates):
        rows = order[(update * BATCH + torch.arange(BATCH)) % len(order)]
        yield contexts[rows], words[rows]


def _ranks(data: WordContexts, trial: Trial, updates: int, seed: int) -> dict[str, Ranks]:
    """Ranks of the held-out words after training; the rates fall to 0 in the second half."""
    loss, rate, share = trial
    body, head = _network(data, seed)
    groups: list[dict[str, Any]] = [
        {"params": list(body.parameters()), "lr": rate},
        {"params": list(head.parameters()), "lr": share * rate},
    ]
    optimizer = torch.optim.Adam(groups, fused=True)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda u: min(1, 2 * (1 - u / updates)))
    for contexts, words in _batches(data, updates, seed):
        optimizer.zero_grad()
        loss(head(body(contexts)), words).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        falling.step()
    ranks = {}
    with torch.no_grad():
        for part in ("validation", "test"):
            outputs = head(body(torch.from_numpy(data.contexts[part])))
            ranks[part] = target_rank(outputs, torch.from_numpy(data.words[part])).numpy()
    return ranks


def _difference(data: WordContexts, steps: int, seed: int) -> float:
    """Largest difference of factored and full weights, as a share of the largest weight."""
    body, _ = _network(data, seed)
    body.double()
    draw = torch_generator(seed, "factored")
    layer = FactoredSphericalLinear(HIDDEN, data.size, std=0.1, generator=draw, dtype=torch.float64)
    weight = layer.weight().requires_grad_()
    factored, full = FactoredSGD(layer, 0.1, stabilize_every=20), torch.optim.SGD([weight], 0.1)
    loss = partial(z_loss, num_classes=data.size, a=0.1, b=20.0)
    for contexts, words in _batches(data, steps, seed):
        with torch.no_grad():
            hidden = body(contexts)
        loss(*layer(hidden, words)).backward()  # type: ignore[no-untyped-call]
        full.zero_grad()
        loss(*sums_of_outputs(hidden @ weight.T, words)).backward()  # type: ignore[no-untyped-call]
        factored.step()
        full.step()
    gap = (layer.weight() - weight.detach()).abs().max() / weight.detach().abs().max()
    return float(gap)
