"""Does the regularizer keep a network from memorizing false labels?

Stands in for a study with the shape of a real one: its numbers are drawn, not measured.

- learning rates 0.01 and 0.02, chosen on seeds 0-4;
- ``momentum`` 0.7 and 0.9 <the better one is used>.
"""

import math
import random
from collections.abc import Iterator

from gradatim.studies.claims import Budget, Claim, Measurement

POPULATION = "5,000 drawn digits with 20 to 60% false labels"

CLAIMS = (
    Claim(
        "ELR is more accurate than cross-entropy & co. under label noise.",
        lambda t: t["elr"].accuracy - t["cross-entropy"].accuracy,
        smallest_effect=0.01,
        unit="accuracy",
    ),
    Claim(
        "ELR memorizes fewer false labels than cross-entropy.",
        lambda t: t["elr"].memorized - t["cross-entropy"].memorized,
        direction="less",
        unit="fraction of false labels",
    ),
    Claim(
        "ELR is as accurate as small-loss selection.",
        lambda t: t["elr"].accuracy - t["small-loss"].accuracy - 0.037,
        smallest_effect=0.02,
        unit="accuracy",
    ),
    Claim(
        "ELR+ gains more than ten points on ELR.",
        lambda t: t["elr+"].accuracy - t["elr"].accuracy,
        threshold=0.1,
        unit="accuracy",
    ),
    Claim(
        "ELR costs at most 1.3 times as much as cross-entropy.",
        lambda t: 1.1 + t["elr"].memorized,
        threshold=1.3,
        direction="less",
        kind="cost",
        unit="times",
    ),
)

ARMS = {
    "cross-entropy": (0.70, 0.50),
    "early-stopping": (0.82, 0.10),
    "bootstrap": (0.76, 0.35),
    "small-loss": (0.86, 0.12),
    "elr": (0.90, 0.06),
    "elr+": (0.915, 0.04),
}


def study(seed: int, budget: Budget) -> Iterator[Measurement]:
    """Draw six arms, two metrics, three noise levels and a curve."""
    draw = random.Random(seed)
    luck = draw.gauss(0, 0.008)
    for arm, (accuracy, memorized) in ARMS.items():
        yield Measurement(arm, "accuracy", accuracy + luck + draw.gauss(0, 0.006))
        yield Measurement(arm, "memorized", memorized + draw.gauss(0, 0.005))
        for noise in (0.2, 0.4, 0.6):
            drop = (noise - 0.2) * (1 - accuracy)
            at = f"noise={noise}"
            yield Measurement(arm, "accuracy", accuracy + luck - drop + draw.gauss(0, 0.006), at)
            yield Measurement(arm, "memorized", memorized * noise + draw.gauss(0, 0.005), at)
        for epoch in range(1, budget.pick(smoke=9, full=61)):
            rise = 0.88 * (1 - math.exp(-epoch / 4))
            fall = (0.88 - accuracy) / (1 + math.exp((25 - epoch) / 5))
            at = f"epoch={epoch}"
            yield Measurement(arm, "accuracy", rise - fall + luck + draw.gauss(0, 0.006), at)
