"""Seeds as a user writes them: ``10-19``, or ``0,3,5-7``."""

import re
from collections.abc import Iterable, Sequence

from gradatim.core.errors import InputError

MOST_SEEDS = 10_000

_PART = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


def parse_seeds(text: str) -> list[int]:
    """Read a list of seeds.

    Args:
        text: numbers and ranges, both ends counted, separated by commas.

    Returns:
        The seeds, in the order written.

    Raises:
        InputError: the text is malformed, a range is reversed, or a seed stands there twice.

    >>> parse_seeds("0,3,5-7")
    [0, 3, 5, 6, 7]
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            raise InputError(f"seeds: expected a list such as 10-19 or 0,3,5-7, got {text!r}")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise InputError(f"seeds: the range {part.strip()} is reversed; write {last}-{first}")
        if len(seeds) + last - first >= MOST_SEEDS:
            raise InputError(f"seeds: expected at most {MOST_SEEDS} seeds, got more in {text!r}")
        seeds.extend(range(first, last + 1))
    return check_seeds(seeds)


def check_seeds(seeds: Sequence[int]) -> list[int]:
    """Check that there are seeds, none negative, and none twice.

    Raises:
        InputError: one of these does not hold.

    >>> check_seeds([3, 1])
    [3, 1]
    """
    if not seeds:
        raise InputError("seeds: expected at least one, got none")
    seen: set[int] = set()
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise InputError(f"seeds: expected whole numbers from 0, got {seed!r}")
        if seed in seen:
            raise InputError(f"seeds: {seed} stands there twice")
        seen.add(seed)
    return list(seeds)


def format_seeds(seeds: Iterable[int]) -> str:
    """Write seeds in the form that :func:`parse_seeds` reads, rising.

    >>> format_seeds([7, 0, 5, 6, 3])
    '0,3,5-7'
    """
    runs: list[list[int]] = []
    for seed in sorted(seeds):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1][1:] = [seed]
        else:
            runs.append([seed])
    return ",".join("-".join(map(str, run)) for run in runs)
