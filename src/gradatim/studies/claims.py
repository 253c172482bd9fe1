"""What a study measures, and what it claims of it: the vocabulary of every paper module."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from gradatim.core.errors import InputError, nearest_names
from gradatim.studies.summaries import as_number, join_group, parse_group

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

T = TypeVar("T")

BUDGETS = ("smoke", "demo", "full")


class Budget(str):
    """How much a study may spend: ``smoke`` (at most 3 seconds), ``demo``, or ``full``.

    Args:
        value: the budget's name.

    Raises:
        InputError: another name.

    >>> Budget("smoke").pick(smoke=100, full=5000)
    100
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Budget:
        """Check the name."""
        if value not in BUDGETS:
            raise InputError(f"budget: expected one of {', '.join(BUDGETS)}, got {value!r}")
        return super().__new__(cls, value)

    def pick(self, *, smoke: T, full: T, demo: T | None = None) -> T:
        """Choose the value for this budget; ``demo`` falls back to ``full``."""
        if self == "smoke":
            return smoke
        return demo if self == "demo" and demo is not None else full


@dataclass(frozen=True)
class Measurement:
    """One number that a study measured with one seed.

    Attributes:
        arm: the method that was measured, as "elr".
        metric: what was measured, as "accuracy".
        value: the finite number.
        group: under which condition: "" or "noise=0.4", several joined as "noise=0.4, epoch=12".

    >>> Measurement("elr", "accuracy", 0.91, group="noise=0.4").value
    0.91
    """

    arm: str
    metric: str
    value: float
    group: str = ""


@dataclass(frozen=True)
class Items:
    """Per-item outcomes, kept in a side file.

    Attributes:
        name: the table's name, a part of its file's name.
        columns: column name -> one value an item, all of one length.
    """

    name: str
    columns: Mapping[str, ArrayLike]


@dataclass(frozen=True)
class Claim:
    """A statement and the number, one a seed, that decides it.

    Non-inferiority is a threshold below zero; ratios, correlations and differences of drops are
    what the estimand computes.

    Attributes:
        statement: what the abstract says, as a sentence.
        estimand: from one seed's table to a number; several mean "at least one of", each then
            judged at a confidence corrected for their number (Bonferroni).
        threshold: the number beyond which the statement holds.
        smallest_effect: the largest distance from the threshold that does not matter in practice,
            declared beforehand; None if equivalence is not judged.
        direction: whether "greater" or "less" than the threshold supports the statement.
        kind: "statistical", or "cost" for speed and memory, which are kept apart.
        unit: the estimand's unit, as "accuracy points".

    Raises:
        InputError: an attribute is not as above.

    >>> claim = Claim("A beats B.", lambda t: t["a"].accuracy - t["b"].accuracy)
    >>> claim.threshold, claim.direction
    (0.0, 'greater')
    """

    statement: str
    estimand: Callable[[SeedTable], float] | tuple[Callable[[SeedTable], float], ...]
    threshold: float = 0.0
    smallest_effect: float | None = None
    direction: Literal["greater", "less"] = "greater"
    kind: Literal["statistical", "cost"] = "statistical"
    unit: str = ""

    def __post_init__(self) -> None:
        """Check the attributes."""
        if not self.alternatives or not all(map(callable, self.alternatives)):
            raise InputError(f"claim {self.statement!r}: expected an estimand that can be called")
        if not math.isfinite(self.threshold):
            raise InputError(
                f"claim {self.statement!r}: expected a finite threshold, got {self.threshold}"
            )
        if self.smallest_effect is not None and not 0 < self.smallest_effect < math.inf:
            raise InputError(
                f"claim {self.statement!r}: expected a positive smallest_effect, "
                f"got {self.smallest_effect}"
            )
        for name, choices in (
            ("direction", ("greater", "less")),
            ("kind", ("statistical", "cost")),
        ):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"claim {self.statement!r}: expected {name} {' or '.join(choices)}, "
                    f"got {getattr(self, name)!r}"
                )

    @property
    def alternatives(self) -> tuple[Callable[[SeedTable], float], ...]:
        """The estimands: one, or those of which at least one must be beyond the threshold."""
        return self.estimand if isinstance(self.estimand, tuple) else (self.estimand,)


GroupKey = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class ArmTable:
    """One arm's measurements with one seed, narrowed to a group by :meth:`at`."""

    arm: str
    cells: Mapping[tuple[str, GroupKey], float] = field(repr=False)
    where: GroupKey = frozenset()

    def __getattr__(self, metric: str) -> float:
        """The value of a metric in the present group."""
        if metric.startswith("_"):
            raise AttributeError(metric)
        return self[metric]

    def __getitem__(self, metric: str) -> float:
        """The value of a metric, for names that are not Python names."""
        try:
            return self.cells[metric, self.where]
        except KeyError:
            raise self._missing(metric) from None

    def at(self, group: str) -> ArmTable:
        """Narrow to a group, as ``"noise=0.4"``; may be repeated."""
        return ArmTable(self.arm, self.cells, self.where | group_key(group))

    def curve(self, metric: str, over: str) -> list[tuple[float, float]]:
        """A metric over a numeric group key, as ``over="epoch"``: (x, value), by rising x.

        Raises:
            InputError: the metric was not measured over this key.
        """
        points = []
        for (name, key), value in self.cells.items():
            parts = dict(key)
            x = as_number(parts.pop(over, ""))
            if name == metric and x is not None and frozenset(parts.items()) == self.where:
                points.append((x, value))
        if not points:
            raise self._missing(metric, over)
        return sorted(points)

    def _missing(self, metric: str, over: str = "") -> InputError:
        metrics = list(dict.fromkeys(name for name, _ in self.cells))
        if metric not in metrics:
            near = nearest_names(metric, metrics)
            return InputError(
                f"arm {self.arm!r} has no metric {metric!r}, but {', '.join(metrics)}.{near}"
            )
        groups = [_group_text(key) for name, key in self.cells if name == metric]
        told = ", ".join(groups[:8]) + (", ..." if len(groups) > 8 else "")
        place = f"in group {_group_text(self.where)}" + (f" over {over!r}" if over else "")
        return InputError(f"arm {self.arm!r} has no {metric!r} {place}; it was measured in {told}")


class SeedTable:
    """All measurements of one seed, as a claim's estimand reads them.

    Args:
        measurements: what the study measured with this seed.

    >>> table = SeedTable([Measurement("a", "accuracy", 0.9),
    ...                    Measurement("a", "accuracy", 0.5, "epoch=1"),
    ...                    Measurement("a", "accuracy", 0.9, "epoch=2")])
    >>> table["a"].accuracy, table["a"].at("epoch=1").accuracy
    (0.9, 0.5)
    >>> table["a"].curve("accuracy", over="epoch")
    [(1.0, 0.5), (2.0, 0.9)]
    """

    def __init__(self, measurements: Iterable[Measurement]) -> None:
        self._arms: dict[str, dict[tuple[str, GroupKey], float]] = {}
        for one in measurements:
            cells = self._arms.setdefault(one.arm, {})
            cells[one.metric, group_key(one.group)] = one.value

    @property
    def arms(self) -> tuple[str, ...]:
        """The arms that were measured, in the study's order."""
        return tuple(self._arms)

    def __getitem__(self, arm: str) -> ArmTable:
        """One arm's measurements.

        Raises:
            InputError: the arm was not measured.
        """
        if arm not in self._arms:
            near = nearest_names(arm, self._arms)
            raise InputError(f"no arm {arm!r} was measured, but {', '.join(self._arms)}.{near}")
        return ArmTable(arm, self._arms[arm])


def group_key(group: str) -> GroupKey:
    """A group as its set of keys and values, so that their order does not matter.

    >>> group_key("noise=0.4, epoch=12") == group_key("epoch=12,noise=0.4")
    True
    """
    return frozenset(parse_group(group).items())


def _group_text(key: GroupKey) -> str:
    return repr(join_group(dict(sorted(key))))


def as_measured(value: Any) -> float:
    """A measured value as a float; NaN if it is not a number at all."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
