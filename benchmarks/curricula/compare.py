"""Curricula beside random order at equal compute, on real runs: prints one table a comparison.

Every arm of a comparison has the same model, data, number of updates, batch size and learning rate,
set once for random order; a seed redraws data, initialization and order, and the interval is that
of the paired differences (Student's t, 95%). Run with ``python benchmarks/curricula/compare.py
[fit] [trainer] [sft] [dpo] [grpo] [pairs] [lightning]``; each takes at most five minutes on one
thread. With ``--rates`` it shows what random order reaches on seeds 0 and 1 at each declared
learning rate instead. ``docs/train-from-easy-to-hard.md`` holds the tables.
"""

import importlib
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch
from common import RANDOM

from gradatim.core.statistics import mean_interval

COMPARISONS = {
    "fit": "fit_digits",
    "trainer": "trainer_exams",
    "sft": "sft_chains",
    "dpo": "dpo_chains",
    "grpo": "grpo_chains",
    "pairs": "pairs_questions",
    "lightning": "lightning_digits",
}


def compare(name: str) -> None:
    """Run every arm of a comparison on every seed and print the differences to random order."""
    comparison: Any = importlib.import_module(COMPARISONS[name])
    seeds, started = comparison.SEEDS, time.process_time()
    # all arms of a seed one after another, since they share what is cached for the seed
    told = [{arm: comparison.run(arm, seed) for arm in comparison.ARMS} for seed in seeds]
    rows = {
        arm: [_cell(arm, told, figure) for figure in told[0][RANDOM]] for arm in comparison.ARMS
    }
    _print(comparison.TITLE, list(told[0][RANDOM]), rows)
    minutes = (time.process_time() - started) / 60
    print(
        f"\nseeds {seeds.start}-{seeds.stop - 1}, {minutes:.1f} minutes on one thread", flush=True
    )


def compare_rates(name: str) -> None:
    """Print what random order reaches on seeds 0 and 1 at each learning rate that is declared."""
    comparison: Any = importlib.import_module(COMPARISONS[name])
    told = {
        rate: [comparison.run(RANDOM, seed, rate) for seed in (0, 1)] for rate in comparison.RATES
    }
    figures = list(told[comparison.RATES[0]][0])
    rows = {
        f"{rate:g}": [f"{np.mean([one[figure] for one in runs]):.3f}" for figure in figures]
        for rate, runs in told.items()
    }
    _print(f"{comparison.TITLE}: random order, seeds 0 and 1", figures, rows)


def _cell(arm: str, told: list[dict[str, dict[str, float]]], figure: str) -> str:
    """The mean of random order, or the difference to it."""
    values, base = (np.array([seed[name][figure] for seed in told]) for name in (arm, RANDOM))
    if arm == RANDOM:
        return f"{values.mean():.3f}"
    interval = mean_interval(values - base)
    return f"{interval.estimate:+.3f} ± {(interval.high - interval.low) / 2:.3f}"


def _print(title: str, figures: list[str], rows: dict[str, list[str]]) -> None:
    print(f"\n{title}\n\n| arm | {' | '.join(figures)} |\n|{' --- |' * (1 + len(figures))}")
    for name, cells in rows.items():
        print(f"| {name} | {' | '.join(cells)} |")


def main(arguments: list[str]) -> None:
    """Run the named comparisons, or all that there are."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rates = "--rates" in arguments
    names = [name for name in arguments if name != "--rates"]
    if unknown := set(names) - set(COMPARISONS):
        sys.exit(f"expected some of {', '.join(COMPARISONS)}, got {', '.join(sorted(unknown))}")
    for name in names or COMPARISONS:
        (compare_rates if rates else compare)(name)


if __name__ == "__main__":
    main(sys.argv[1:])
