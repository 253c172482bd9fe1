"""Names at the ends of lines: as near to their line as they can be without touching."""

from collections.abc import Sequence

from gradatim.studies.svg import FONT_SIZE

LONGEST = 28


def trim(text: str, longest: int = LONGEST) -> str:
    """Shorten a name that would not fit beside a figure.

    >>> trim("a" * 30, 10)
    'aaaaaaaaa…'
    """
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def in_words(name: str) -> str:
    """A metric or group as words.

    >>> in_words("true_class"), in_words("noise=0.4, kind=next class")
    ('true class', 'noise 0.4, kind next class')
    """
    return name.replace("_", " ").replace("=", " ")


def text_width(names: Sequence[str]) -> float:
    """Room for the longest name, in CSS pixels, with the widest of the usual fonts.

    >>> text_width(["elr", "cross-entropy"]) > text_width(["elr"])
    True
    """
    return max(len(name) for name in names) * FONT_SIZE * 0.54


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart as little as possible (least squares), keeping their order.

    Args:
        places: where each label would like to be.
        gap: least distance between neighbours.
        low: lowest place allowed.
        high: highest place allowed, if all fit.

    Returns:
        A place for each label, in the given order.

    >>> [round(place, 6) for place in spread([1.0, 1.0, 5.0], gap=1.0, low=0.0, high=9.0)]
    [0.5, 1.5, 5.0]
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    blocks: list[tuple[float, int]] = []  # (sum of wishes less their offsets, how many)
    for step, index in enumerate(order):
        total, count = places[index] - step * gap, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    ceiling = max(high - (len(places) - 1) * gap, low)
    moved = [min(max(total / count, low), ceiling) for total, count in blocks for _ in range(count)]
    result = [0.0] * len(places)
    for step, index in enumerate(order):
        result[index] = moved[step] + step * gap
    return result
