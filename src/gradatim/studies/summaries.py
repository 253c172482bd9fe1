"""What a ledger says of its arms: mean and 95% interval over seeds, by metric and group."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Summary:
    """One arm's metric over the seeds.

    Attributes:
        mean: the mean over seeds.
        low: lower end of the 95% t interval; NaN with a single seed.
        high: upper end.
        values: the value of each seed, in the order of the seeds.
    """

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def half_width(self) -> float:
        """Half the interval's width: the number after ±."""
        return (self.high - self.low) / 2

    @classmethod
    def of(cls, values: Iterable[float]) -> "Summary":
        """Summarize the values of the seeds.

        >>> Summary.of([1.0, 2.0, 3.0, 4.0]).mean
        2.5
        """
        from gradatim.core.statistics import mean_interval

        numbers = tuple(values)
        if len(numbers) < 2:
            return cls(numbers[0], math.nan, math.nan, numbers)
        interval = mean_interval(numbers)
        return cls(interval.estimate, interval.low, interval.high, numbers)


def parse_group(group: str) -> dict[str, str]:
    """Split a measurement's group into its keys and values; a lone value has the key "group".

    >>> parse_group("noise=0.4, epoch=12")
    {'noise': '0.4', 'epoch': '12'}
    >>> parse_group("hard")
    {'group': 'hard'}
    >>> parse_group("")
    {}
    """
    pairs = (part.strip().partition("=") for part in group.split(",") if part.strip())
    return {
        key.strip() if sign else "group": (value if sign else key).strip()
        for key, sign, value in pairs
    }


def join_group(parts: Mapping[str, str]) -> str:
    """Write keys and values as a group: the inverse of :func:`parse_group`.

    >>> join_group({"noise": "0.4", "epoch": "12"})
    'noise=0.4, epoch=12'
    """
    return ", ".join(f"{key}={value}" for key, value in parts.items())


def as_number(text: str) -> float | None:
    """The finite number that a text spells, if it spells one.

    >>> as_number("0.4"), as_number("easy")
    (0.4, None)
    """
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def by_numbers(groups: Iterable[str]) -> list[str]:
    """Groups of the same keys by rising numbers; words keep their order.

    >>> by_numbers(["noise=0.4, kind=a", "noise=10, kind=a", "noise=0.2, kind=b"])
    ['noise=0.2, kind=b', 'noise=0.4, kind=a', 'noise=10, kind=a']
    """
    return sorted(
        groups, key=lambda group: [as_number(value) or 0.0 for value in parse_group(group).values()]
    )


@dataclass(frozen=True)
class Summaries:
    """All summaries of one ledger by arm, metric and group, in the order of the study."""

    cells: Mapping[tuple[str, str, str], Summary] = field(repr=False)

    @classmethod
    def of(cls, rows: Iterable[tuple[int, str, str, str, float]]) -> "Summaries":
        """Summarize rows of (seed, arm, metric, group, value).

        >>> rows = [(0, "elr", "accuracy", "", 0.8), (1, "elr", "accuracy", "", 0.9)]
        >>> round(Summaries.of(rows).cells["elr", "accuracy", ""].mean, 3)
        0.85
        """
        values: dict[tuple[str, str, str], list[float]] = {}
        for _, arm, metric, group, value in rows:
            values.setdefault((arm, metric, group), []).append(value)
        return cls({key: Summary.of(found) for key, found in values.items()})

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """The arms, in the study's order."""
        return tuple(dict.fromkeys(arm for arm, _, _ in self.cells))

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The metrics, in the study's order."""
        return tuple(dict.fromkeys(metric for _, metric, _ in self.cells))

    def find(self, arm: str, metric: str, group: str) -> Summary | None:
        """The summary of a group, however its keys are ordered and spaced; None if there is none.

        >>> rows = [(0, "a", "loss", "noise=0.1,epoch=1", 0.5)]
        >>> Summaries.of(rows).find("a", "loss", "epoch=1, noise=0.1").mean
        0.5
        """
        return self._parsed.get((arm, metric, frozenset(parse_group(group).items())))

    @cached_property
    def _parsed(self) -> dict[tuple[str, str, frozenset[tuple[str, str]]], Summary]:
        return {
            (arm, metric, frozenset(parse_group(group).items())): cell
            for (arm, metric, group), cell in self.cells.items()
        }

    def groups(self, metric: str) -> tuple[str, ...]:
        """The groups in which a metric was measured, in the study's order."""
        return tuple(dict.fromkeys(group for _, name, group in self.cells if name == metric))

    def keys(self, metric: str) -> tuple[tuple[str, ...], ...]:
        """The kinds of group of a metric by their keys; ``()`` for the group ``""``.

        >>> rows = [(0, "a", "loss", "", 1.0), (0, "a", "loss", "noise=0.1, epoch=1", 1.0)]
        >>> Summaries.of(rows).keys("loss")
        ((), ('noise', 'epoch'))
        """
        return tuple(dict.fromkeys(tuple(parse_group(group)) for group in self.groups(metric)))
