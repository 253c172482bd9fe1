"""SCAN: the published numbers of commands, and an interpreter by rewriting rules."""

import functools
import re

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.studies.data.scan import SPLITS, VERBS, interpret, scan_commands, scan_split


@functools.cache
def every_command():
    return frozenset(" ".join(words) for words, _ in scan_commands())


def rewritten(command):
    """The actions by rewriting the text of a command, innermost words first."""
    text = command
    for verb in VERBS:
        text = re.sub(rf"\b{verb}\b", f"[{verb.upper()}]", text)
    text = text.replace("turn", "[]")
    for side, turn in (("left", "LT"), ("right", "RT")):
        text = re.sub(
            rf"\[(\w*)\] around {side}", lambda m, t=turn: f"[{f'{t} {m[1]} ' * 4}]", text
        )
        text = re.sub(rf"\[(\w*)\] opposite {side}", lambda m, t=turn: f"[{t} {t} {m[1]}]", text)
        text = re.sub(rf"\[(\w*)\] {side}", lambda m, t=turn: f"[{t} {m[1]}]", text)
    text = re.sub(r"\[([^\]]*)\] thrice", r"[\1 \1 \1]", text)
    text = re.sub(r"\[([^\]]*)\] twice", r"[\1 \1]", text)
    text = re.sub(r"(\[.*\]) after (\[.*\])", r"\2 \1", text).replace("and", "")
    names = {"LT": "I_TURN_LEFT", "RT": "I_TURN_RIGHT"}
    return [names.get(one, f"I_{one}") for one in re.findall(r"\w+", text)]


def test_all_commands_mean_what_rewriting_them_gives():
    commands = scan_commands()
    assert len(commands) == 20_910 == len({" ".join(words) for words, _ in commands})
    assert all(actions == rewritten(" ".join(words)) for words, actions in commands)


def test_commands_of_one_phrase():
    commands = scan_commands(conjunctions=False)
    assert len(commands) == 102
    for verb in VERBS:
        assert sum(words[0] == verb for words, _ in commands) == 21
    assert sum(words[0] == "turn" for words, _ in commands) == 18


def test_an_example_of_the_paper():
    left, right = "I_TURN_LEFT", "I_TURN_RIGHT"
    assert interpret(["jump", "around", "left", "twice", "and", "walk", "opposite", "right"]) == (
        [left, "I_JUMP"] * 8 + [right, right, "I_WALK"]
    )
    assert interpret(["walk", "opposite", "right", "thrice", "after", "run"]) == (
        ["I_RUN"] + [right, right, "I_WALK"] * 3
    )


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [("jump", 14_670, 7_706), ("around right", 15_225, 4_476), ("length", 16_990, 3_920)],
)
def test_splits_have_the_published_sizes_and_share_nothing(name, train, test):
    split = scan_split(name)
    assert (len(split.train), len(split.test)) == (train, test)
    parts = [{" ".join(words) for words, _ in part} for part in (split.train, split.test)]
    assert not parts[0] & parts[1]


def test_what_training_lacks():
    jump = [words for words, _ in scan_split("jump").train if "jump" in words]
    assert jump == [["jump"]] * 1467
    assert all("around right" not in " ".join(w) for w, _ in scan_split("around right").train)
    length = scan_split("length")
    assert max(len(actions) for _, actions in length.train) == 22
    assert min(len(actions) for _, actions in length.test) == 24


@pytest.mark.parametrize("name", SPLITS)
def test_splits_without_conjunctions(name):
    split = scan_split(name, conjunctions=False)
    every = {" ".join(words) for words, _ in scan_commands(conjunctions=False)}
    assert {" ".join(words) for words, _ in split.train + split.test} <= every
    assert split.test and not any("and" in words for words, _ in split.train)
    if name == "jump":
        assert (len(split.train), len(split.test)) == (90, 20)


@given(st.lists(st.sampled_from(["walk", "turn", "left", "around", "opposite", "twice", "and"]),
                max_size=5))  # fmt: skip
def test_what_is_no_command_is_refused(words):
    if " ".join(words) in every_command():
        assert interpret(words) == rewritten(" ".join(words))
    else:
        with pytest.raises(InputError, match="words: expected a command of SCAN"):
            interpret(words)


def test_an_unknown_split():
    with pytest.raises(InputError, match="name: expected one of jump, around right, length"):
        scan_split("left")
