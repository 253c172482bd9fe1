"""SCAN: navigation commands, the actions that they mean, and the splits that test composition."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gradatim.core.checks import check_choice
from gradatim.core.errors import InputError

Command: TypeAlias = tuple[str, ...]
ScanPair: TypeAlias = tuple[list[str], list[str]]

VERBS = ("walk", "look", "run", "jump")
TURN = "turn"
_DIRECTIONS = ("left", "right")
_REPEATS = {"twice": 2, "thrice": 3}
_ACTIONS = {**{verb: f"I_{verb.upper()}" for verb in VERBS}, TURN: ""}
_TURNS: dict[str, Callable[[str, list[str]], list[str]]] = {
    "": lambda turn, act: [turn, *act],
    "opposite": lambda turn, act: [turn, turn, *act],
    "around": lambda turn, act: [turn, *act] * 4,
}
SPLITS = ("jump", "around right", "length")
LONGEST_OF_TRAINING = 22
"""Actions of the longest commands of the length split's training set."""


@dataclass(frozen=True)
class ScanSplit:
    """Commands to learn from, and others to test composition with.

    Attributes:
        train: words and actions of each command.
        test: the same, for commands of a kind that training lacks.
    """

    train: list[ScanPair]
    test: list[ScanPair]


def scan_commands(*, conjunctions: bool = True) -> list[ScanPair]:
    """All commands of SCAN and their actions: 20,910, or the 102 without "and" and "after".

    A phrase is a verb, or a verb (or "turn") with a direction, or that with "opposite" or "around"
    between, alone or followed by "twice" or "thrice"; a command is a phrase or two of them.

    Args:
        conjunctions: whether commands of two phrases are among them.

    Returns:
        Words and actions; commands of one phrase first.

    Source: Lake and Baroni 2018, arXiv 1711.00350, section 2 and figure 7.

    >>> len(scan_commands()), scan_commands(conjunctions=False)[0]
    (20910, (['walk'], ['I_WALK']))
    """
    turned = [
        (verb, *how, direction)
        for verb in (*VERBS, TURN)
        for how in ((), ("opposite",), ("around",))
        for direction in _DIRECTIONS
    ]
    single = [(verb,) for verb in VERBS] + turned
    phrases: list[Command] = [
        (*words, *repeat) for words in single for repeat in ((), ("twice",), ("thrice",))
    ]
    commands = list(phrases)
    if conjunctions:
        commands += [
            (*first, word, *second)
            for first, word, second in itertools.product(phrases, ("and", "after"), phrases)
        ]
    return [(list(words), interpret(words)) for words in commands]


def interpret(words: Sequence[str]) -> list[str]:
    """The actions that a command means.

    Args:
        words: of the command.

    Raises:
        InputError: something that is no command.

    Source: Lake and Baroni 2018, arXiv 1711.00350, figure 7.

    >>> interpret("jump left twice".split())
    ['I_TURN_LEFT', 'I_JUMP', 'I_TURN_LEFT', 'I_JUMP']
    >>> interpret("look after walk".split())
    ['I_WALK', 'I_LOOK']
    """
    for word, order in (("and", 1), ("after", -1)):
        if word in words:
            place = list(words).index(word)
            parts = [_phrase(words[:place]), _phrase(words[place + 1 :])]
            return list(itertools.chain.from_iterable(parts[::order]))
    return _phrase(words)


def scan_split(name: str, *, conjunctions: bool = True) -> ScanSplit:
    """A split of SCAN by what training lacks.

    - "jump": in training "jump" is only met alone, in a tenth of the examples; it is tested in all
      its other commands.
    - "around right": training has no command with these words; those are tested whose verb is not
      "turn".
    - "length": training has the commands of up to 22 actions, the others are tested.

    Args:
        name: "jump", "around right" or "length".
        conjunctions: whether commands of two phrases are among them. The length split without
            them keeps back only the two longest kinds.

    Returns:
        The split; "jump" stands as often in it as its share asks for.

    Raises:
        InputError: another name.

    Source: Lake and Baroni 2018, arXiv 1711.00350 (jump, length); Loula, Baroni and Lake 2018,
    arXiv 1807.07545 (around right).

    >>> split = scan_split("jump")
    >>> len(split.train), len(split.test)
    (14670, 7706)
    """
    check_choice("name", name, SPLITS)
    pairs = scan_commands(conjunctions=conjunctions)
    if name == "length":
        return _divided(pairs, lambda pair: len(pair[1]) <= LONGEST_OF_TRAINING)
    if name == "around right":
        parts = _divided(pairs, lambda pair: not _around_right(pair[0]))
        kept = [pair for pair in parts.test if "turn around right" not in " ".join(pair[0])]
        return ScanSplit(parts.train, kept)
    parts = _divided(pairs, lambda pair: "jump" not in pair[0])
    bare = interpret(["jump"])
    copies = round(len(parts.train) / 9)
    tested = [pair for pair in parts.test if pair[0] != ["jump"]]
    return ScanSplit(parts.train + [(["jump"], list(bare)) for _ in range(copies)], tested)


def _divided(pairs: list[ScanPair], learned: Callable[[ScanPair], bool]) -> ScanSplit:
    chosen = [learned(pair) for pair in pairs]
    return ScanSplit(
        list(itertools.compress(pairs, chosen)),
        list(itertools.compress(pairs, (not one for one in chosen))),
    )


def _around_right(words: Sequence[str]) -> bool:
    return "around right" in " ".join(words)


def _phrase(words: Sequence[str]) -> list[str]:
    """The actions of a command without conjunction."""
    rest = list(words)
    times = _REPEATS.get(rest[-1], 1) if rest else 1
    rest = rest[:-1] if times > 1 else rest
    if not rest or rest[0] not in _ACTIONS:
        raise InputError(f"words: expected a command of SCAN, got {' '.join(words)!r}")
    act = [_ACTIONS[rest[0]]] if rest[0] in VERBS else []
    if len(rest) == 1 and act:
        return act * times
    how = rest[1] if len(rest) == 3 else ""
    if not 2 <= len(rest) <= 3 or rest[-1] not in _DIRECTIONS or how not in _TURNS:
        raise InputError(f"words: expected a command of SCAN, got {' '.join(words)!r}")
    turn = f"I_TURN_{rest[-1].upper()}"
    return _TURNS[how](turn, act) * times
