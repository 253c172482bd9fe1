"""Pairs from a search: a spelling game whose answers and rewards are known."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.core.seeds import numpy_generator
from gradatim.language.characters import CharacterTokenizer
from gradatim.language.environments import Turn
from gradatim.mining.tree_search import (
    Continuation,
    SampledContinuations,
    SearchedPairs,
    TreeSearchPairs,
)
from gradatim.networks.decoder import SmallDecoder

TOKENS = CharacterTokenizer("ab?!.")
STOP = TOKENS.encode(".")[0]


class Spelling:
    """A word of a and b is asked for; a question mark is answered with an exclamation mark."""

    def prompt(self, task: str) -> str:
        """All tasks look alike."""
        return "b"

    def step(self, task: str, answer: str) -> Turn:
        """A question is answered; a full word ends."""
        if answer.endswith("?"):
            return Turn(observation="!")
        return Turn(done=len(answer) >= len(task))

    def verify(self, task: str, answer: str) -> float:
        """The share of right letters."""
        return sum(a == b for a, b in zip(answer, task, strict=False)) / len(task)


def proposals(texts: Sequence[Sequence[int]], copies: int, seed: int) -> list[list[Continuation]]:
    """Random letters, three each."""
    generator = numpy_generator(seed, "proposals")
    draws = generator.integers(1, 3, (len(texts), copies, 3)).tolist()
    return [[Continuation(row, [-0.5] * 3, False) for row in rows] for rows in draws]


def mine(search: TreeSearchPairs, propose: object = proposals, **more: object) -> SearchedPairs:
    """What a search finds for two words."""
    return search.mine(
        Spelling(),
        ["aba", "bbb"],
        tokenizer=TOKENS,
        propose=propose,
        **more,  # type: ignore[arg-type]
    )


LETTERS = TreeSearchPairs(separators=[1, 2], group=1, copies=4, depth=4, iterations=4)


@settings(deadline=None, max_examples=40)
@given(
    depth=st.integers(1, 4),
    copies=st.integers(1, 4),
    iterations=st.integers(1, 4),
    value=st.sampled_from(["mean", "sum"]),
    seed=st.integers(0, 99),
)
def test_pairs_keep_what_is_promised(
    depth: int, copies: int, iterations: int, value: str, seed: int
) -> None:
    """Gaps, depths, prefixes and pieces, whatever the search."""
    search = TreeSearchPairs(
        separators=[1, 2], group=1, copies=copies, depth=depth, iterations=iterations,
        value=value, min_gap=0.2,
    )  # fmt: skip
    found = mine(search, seed=seed)
    assert found == mine(search, seed=seed)
    for pair in found.pairs:
        assert pair.gap >= 0.2 and 1 <= pair.depth <= depth
        assert pair.prefix[0] == 2 and pair.chosen != pair.rejected
        if value == "mean" and depth > 3:
            task = ("aba", "bbb")[pair.task]
            assert len(pair.chosen) == len(pair.rejected) == 1
            assert pair.depth == len(pair.prefix) <= len(task)


def test_the_right_letter_is_chosen_at_the_end() -> None:
    """Where one letter is missing, its piece alone tells the rewards apart."""
    for pair in mine(LETTERS).pairs:
        if pair.depth == 3:
            word = ("aba", "bbb")[pair.task]
            assert TOKENS.decode(pair.chosen) == word[2] != TOKENS.decode(pair.rejected)
            assert pair.gap == pytest.approx(1 / 3)


def test_all_answers_are_judged() -> None:
    """Each continuation gives one reward, as long as trees are open."""
    found = mine(TreeSearchPairs(separators=[1, 2], group=1, copies=3, iterations=1))
    assert [len(some) for some in found.rewards] == [3, 3]
    assert {round(3 * one) for some in found.rewards for one in some} <= {0, 1, 2, 3}


def test_filters() -> None:
    """Too small a gap, a bad best piece, and equal words give no pair."""
    assert mine(LETTERS).pairs
    narrow = {"separators": [1, 2], "group": 1, "copies": 4, "iterations": 2}
    assert not mine(TreeSearchPairs(**narrow, min_gap=1.1)).pairs  # type: ignore[arg-type]
    assert not mine(TreeSearchPairs(**narrow, min_value=1.1)).pairs  # type: ignore[arg-type]

    class Blanks(CharacterTokenizer):
        def decode(self, ids: object) -> str:
            return " ".join("x" for _ in ids)  # type: ignore[attr-defined]

    same = TreeSearchPairs(**narrow, max_overlap=0.5).mine(  # type: ignore[arg-type]
        Spelling(), ["aba"], tokenizer=Blanks("ab"), propose=proposals
    )
    assert not same.pairs


def test_an_observation_cuts_a_continuation() -> None:
    """What was written behind a question did not know the answer; it is asked for again."""
    asked = []

    def propose(texts: Sequence[Sequence[int]], copies: int, seed: int) -> list[list[Continuation]]:
        asked.append([TOKENS.decode(text) for text in texts])
        words = ["a?b", "aba"] if len(asked) == 1 else ["a"] * copies
        rows = [Continuation(TOKENS.encode(word), [-1.0] * len(word), False) for word in words]
        return [rows[:copies] for _ in texts]

    search = TreeSearchPairs(separators=[1, 2, 3], group=1, copies=2, depth=4, iterations=1)
    found = search.mine(Spelling(), ["aba"], tokenizer=TOKENS, propose=propose)
    assert asked == [["b"], ["ba?!"]]
    assert sorted(found.rewards[0]) == pytest.approx([1 / 3, 1.0])
    (pair,) = found.pairs
    assert (pair.prefix, pair.gap) == ((2, 1), pytest.approx(2 / 3))
    assert (TOKENS.decode(pair.chosen), TOKENS.decode(pair.rejected)) == ("b", "?")


def test_stop_tokens_belong_to_pieces_but_not_to_the_text() -> None:
    """The environment never sees them; training does."""

    class Empty(Spelling):
        def step(self, task: str, answer: str) -> Turn:
            assert "." not in answer
            return Turn()

        def verify(self, task: str, answer: str) -> float:
            return float(answer == task)

    def propose(texts: Sequence[Sequence[int]], copies: int, seed: int) -> list[list[Continuation]]:
        rows = [Continuation(TOKENS.encode(one), [-1.0] * len(one), True) for one in ("ab.", "a.")]
        return [rows] * len(texts)

    search = TreeSearchPairs(separators=[1, 2], group=1, copies=2, depth=2, iterations=1)
    found = search.mine(Empty(), ["ab"], tokenizer=TOKENS, propose=propose, stop=[STOP])
    assert found.pairs[0].chosen == (2, STOP)
    assert found.pairs[0].rejected == (STOP,)
    assert found.rewards == [[1.0, 0.0]]


def test_a_guess_decides_where_rewards_do_not() -> None:
    """The fast reward is part of a node's value."""

    class Fair(Spelling):
        def verify(self, task: str, answer: str) -> float:
            return 0.5

    search = TreeSearchPairs(separators=[1, 2], group=1, copies=8, iterations=1, depth=1)
    assert not search.mine(Fair(), ["aaa"], tokenizer=TOKENS, propose=proposals).pairs
    guessed = search.mine(
        Fair(), ["aaa"], tokenizer=TOKENS, propose=proposals,
        fast_reward=lambda task, piece: piece.count("a"),
    )  # fmt: skip
    (pair,) = guessed.pairs
    counts = [TOKENS.decode(piece).count("a") for piece in (pair.chosen, pair.rejected)]
    assert pair.gap == counts[0] - counts[1] > 0


def test_pieces_hold_all_tokens_and_mean_probabilities() -> None:
    """Cut behind separators, in groups, the rest last."""
    search = TreeSearchPairs(separators=[9], group=2)
    logs = [math.log(p) for p in (0.5, 0.5, 0.25, 1.0, 0.1)]
    pieces = search.pieces(Continuation([9, 1, 9, 9, 2], logs, False))
    assert [piece for piece, _ in pieces] == [(9, 1, 9), (9, 2)]
    assert [prior for _, prior in pieces] == pytest.approx([0.0625 ** (1 / 3), 0.1**0.5])
    assert TreeSearchPairs().pieces(Continuation([1, 2], [0.0, 0.0], True)) == [((1, 2), 1.0)]
    assert TreeSearchPairs().pieces(Continuation([], [], True)) == []


def test_continuations_are_those_of_the_model() -> None:
    """In the order of the texts, with the model's own log-probabilities."""
    torch.manual_seed(0)
    model = SmallDecoder(6, hidden_size=8, layers=1, decoding_dtype=torch.float32)
    texts = [[1, 2], [3], [4, 5, 1]]
    found = SampledContinuations(model, stop=[5], longest=4)(texts, 2, 3)
    assert [len(some) for some in found] == [2, 2, 2]
    for text, some in zip(texts, found, strict=True):
        for one in some:
            assert one.finished == (one.tokens[-1] == 5)
            ids = torch.tensor([[*text, *one.tokens]])
            logs = model.logits(model(ids, torch.ones_like(ids, dtype=torch.bool))).log_softmax(-1)
            own = logs[0, len(text) - 1 : -1].gather(1, ids[0, len(text) :, None])[:, 0]
            assert torch.allclose(own, torch.tensor(one.log_probabilities), atol=1e-4)


def test_bad_input() -> None:
    """A number that is not one, and continuations that are missing."""

    class Broken(Spelling):
        def verify(self, task: str, answer: str) -> float:
            return math.nan

    with pytest.raises(InputError, match=r"verify: .* nan"):
        LETTERS.mine(Broken(), ["aba"], tokenizer=TOKENS, propose=proposals)
    with pytest.raises(InputError, match=r"propose: expected 4 continuations of each of 2"):
        mine(LETTERS, lambda texts, copies, seed: [[]] * len(texts))
    assert LETTERS.mine(Spelling(), [], tokenizer=TOKENS, propose=proposals).pairs == []


@pytest.mark.parametrize(
    "wrong",
    [{"copies": 0}, {"depth": 0}, {"group": 0}, {"iterations": 0}, {"turns": -1}, {"min_gap": 0},
     {"max_overlap": 2}, {"value": "best"}, {"exploration": -1}, {"min_value": math.nan}],
)  # fmt: skip
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    """Are refused by name."""
    with pytest.raises(InputError, match=next(iter(wrong))):
        TreeSearchPairs(**wrong)  # type: ignore[arg-type]
