"""Preference pairs of pieces of answers, from a Monte Carlo tree search for each task."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.core.seeds import derive_seed
from gradatim.language.causal_lm import CausalLM
from gradatim.language.environments import Environment, TextTokens
from gradatim.language.sampling import sample
from gradatim.metrics.call_match import word_overlap
from gradatim.mining.monte_carlo_tree import VALUES, MonteCarloTree, Tokens, TreeNode

TaskT = TypeVar("TaskT")


@dataclass(frozen=True)
class Continuation:
    """One way to go on with a text.

    Attributes:
        tokens: what is written.
        log_probabilities: of each token.
        finished: whether the writer ended of itself.
    """

    tokens: Sequence[int]
    log_probabilities: Sequence[float]
    finished: bool


Propose = Callable[[Sequence[Sequence[int]], int, int], Sequence[Sequence[Continuation]]]
"""From texts (tokens), how many continuations of each, and a seed, to these continuations."""


@dataclass(frozen=True)
class SampledContinuations:
    """Continuations sampled from a language model, all texts in batches.

    Args:
        model: what writes.
        stop: tokens that end an answer.
        longest: new tokens at most.
        temperature: of the softmax.
        batch_rows: rows decoded at once.

    >>> from gradatim.networks.decoder import SmallDecoder
    >>> propose = SampledContinuations(SmallDecoder(6, hidden_size=8, layers=1), longest=3)
    >>> [len(some) for some in propose([[1, 2], [3]], 4, 0)]
    [4, 4]
    """

    model: CausalLM
    stop: Collection[int] = ()
    longest: int = 50
    temperature: float = 1.5
    batch_rows: int = 256

    def __call__(
        self, texts: Sequence[Sequence[int]], copies: int, seed: int
    ) -> list[list[Continuation]]:
        """Sample; see :data:`Propose`.

        Raises:
            InputError: as for :func:`gradatim.language.sampling.sample`.
        """
        found = sample(
            self.model,
            texts,
            copies=copies,
            longest=self.longest,
            stop=self.stop,
            temperature=self.temperature,
            batch_rows=self.batch_rows,
            seed=seed,
        )
        logs = found.log_probabilities.tolist()
        rows = [
            Continuation(tokens, some[: len(tokens)], finished)
            for tokens, some, finished in zip(
                found.lists(), logs, found.finished.tolist(), strict=True
            )
        ]
        return [rows[start : start + copies] for start in range(0, len(rows), copies)]


@dataclass(frozen=True)
class FragmentPair:
    """Two pieces that may follow on one text.

    Attributes:
        task: position of the task.
        prefix: the prompt and the answer so far, tokens.
        chosen: the better piece, tokens.
        rejected: the worse one.
        gap: difference of their values.
        depth: of the pieces in their tree, 1 for the first.
    """

    task: int
    prefix: Tokens
    chosen: Tokens
    rejected: Tokens
    gap: float
    depth: int


@dataclass(frozen=True)
class SearchedPairs:
    """What a search found.

    Attributes:
        pairs: task by task.
        rewards: of all completed answers, task by task.
    """

    pairs: list[FragmentPair]
    rewards: list[list[float]]


@dataclass(frozen=True)
class TreeSearchPairs:
    r"""Preference pairs of short pieces, from a Monte Carlo tree search for each task.

    Each of ``iterations`` goes down the tree of
    :class:`~gradatim.mining.monte_carlo_tree.MonteCarloTree`, draws ``copies`` continuations from
    the node it comes to, cuts each into pieces behind ``separators`` and hangs them below the node
    as a chain; what lies beyond ``depth`` is one last piece. The continuation itself completes the
    answer; its reward is backed up from the chain's last node. All trees grow
    side by side, so that continuations are drawn in large batches. Then every node with two
    children gives a pair, its best and its worst child, if

    .. math:: V_w - V_l \ge \text{min\_gap}, \quad \text{overlap} \le \text{max\_overlap}, \quad
        V_w \ge \text{min\_value}

    The authors' search differs: it backs up one reward an iteration, graded by the policy itself,
    keeps equal pieces apart, and takes for V the sum of rewards, which favours what was visited
    often (``value="sum"``).

    Args:
        separators: tokens behind which a continuation is cut; none keeps it whole.
        group: how many pieces between separators make one.
        copies: continuations of a node.
        depth: pieces below the root at most.
        iterations: expansions of a tree.
        exploration: c of the bound.
        turns: how often an answer that has not ended is continued to be judged.
        value: "mean" or "sum", by which pairs are made.
        min_gap: the smallest difference of values.
        max_overlap: the largest overlap of the two pieces' words.
        min_value: the least value of the better piece.

    Raises:
        InputError: an unknown name, or a number outside its range.

    Source: Zeng et al. 2025, arXiv 2501.09766, and the authors' code (3 copies, depth 3, groups
    of 2, 5 iterations in the script).

    >>> from gradatim.language.characters import CharacterTokenizer
    >>> from gradatim.language.environments import Turn
    >>> class Spell:
    ...     def prompt(self, task): return "b"
    ...     def step(self, task, answer): return Turn(done=len(answer) == 2)
    ...     def verify(self, task, answer): return float(answer == task)
    >>> def propose(texts, copies, seed):
    ...     return [[Continuation(ids, [-1.0] * 2, False) for ids in ([1, 2], [2, 1])]] * len(texts)
    >>> search = TreeSearchPairs(separators=[1, 2], group=1, copies=2, iterations=1)
    >>> found = search.mine(Spell(), ["ba"], tokenizer=CharacterTokenizer("ab"), propose=propose)
    >>> found.pairs
    [FragmentPair(task=0, prefix=(2,), chosen=(2,), rejected=(1,), gap=1.0, depth=1)]
    """

    separators: Collection[int] = ()
    group: int = 2
    copies: int = 3
    depth: int = 3
    iterations: int = 5
    exploration: float = 1.0
    turns: int = 2
    value: str = "mean"
    min_gap: float = 0.1
    max_overlap: float = 0.95
    min_value: float = -0.3

    def __post_init__(self) -> None:
        """Check the names and numbers."""
        for name in ("group", "copies", "depth", "iterations"):
            check_range(name, getattr(self, name), 1)
        check_range("exploration", self.exploration, 0)
        check_range("turns", self.turns, 0)
        check_choice("value", self.value, VALUES)
        check_range("min_gap", self.min_gap, 0, open_low=True)
        check_range("max_overlap", self.max_overlap, 0, 1)
        check_range("min_value", self.min_value)

    def mine(
        self,
        environment: Environment[TaskT],
        tasks: Sequence[TaskT],
        *,
        tokenizer: TextTokens,
        propose: Propose,
        stop: Collection[int] = (),
        fast_reward: Callable[[TaskT, str], float] | None = None,
        seed: int = 0,
    ) -> SearchedPairs:
        """Search for each task, and pair what was found.

        Args:
            environment: that sets the tasks and judges answers.
            tasks: what is to be answered.
            tokenizer: between the environment's text and the model's tokens.
            propose: draws continuations, as :class:`SampledContinuations` does.
            stop: tokens that end an answer; the environment does not see them.
            fast_reward: from a task and the text of a piece to a first guess at its value, as
                :func:`gradatim.metrics.call_match.fragment_reward`; None takes 0.
            seed: what the draws depend on.

        Returns:
            The pairs, and the rewards of all completed answers.

        Raises:
            InputError: a reward that is not finite, or a wrong number of continuations.
        """
        search = _Search(self, environment, tasks, tokenizer, propose, stop, fast_reward, seed)
        return search.run()

    def pieces(self, continuation: Continuation) -> list[tuple[Tokens, float]]:
        """A continuation cut behind separators, each piece with its prior.

        The prior is the geometric mean of the tokens' probabilities.
        """
        ends = [
            place + 1 for place, token in enumerate(continuation.tokens) if token in self.separators
        ][self.group - 1 :: self.group]
        bounds = [0, *ends, len(continuation.tokens)]
        found = []
        for start, stop in pairwise(bounds):
            if start < stop:
                logs = continuation.log_probabilities[start:stop]
                piece = tuple(continuation.tokens[start:stop])
                found.append((piece, math.exp(sum(logs) / len(logs))))
        return found


class _Search(Generic[TaskT]):
    """One call of :meth:`TreeSearchPairs.mine`."""

    def __init__(
        self,
        options: TreeSearchPairs,
        environment: Environment[TaskT],
        tasks: Sequence[TaskT],
        tokenizer: TextTokens,
        propose: Propose,
        stop: Collection[int],
        fast_reward: Callable[[TaskT, str], float] | None,
        seed: int,
    ) -> None:
        self.options, self.environment, self.tasks = options, environment, tasks
        self.tokenizer, self.propose, self.seed = tokenizer, propose, seed
        self.stop, self.fast_reward = frozenset(stop), fast_reward
        self.prompts = [tuple(tokenizer.encode(environment.prompt(task))) for task in tasks]
        self.trees = [
            MonteCarloTree(exploration=options.exploration, depth=options.depth) for _ in tasks
        ]
        self.rewards: list[list[float]] = [[] for _ in tasks]

    def run(self) -> SearchedPairs:
        """Grow all trees side by side, then pair."""
        for number in range(self.options.iterations):
            chosen = [tree.select() for tree in self.trees]
            grown = [
                row
                for row, (tree, node) in enumerate(zip(self.trees, chosen, strict=True))
                if not tree.closed(node)
            ]
            for row in set(range(len(self.tasks))) - set(grown):
                known = chosen[row].reward
                assert known is not None, "a closed node was judged when it was made"
                self.trees[row].back_up(chosen[row], known)
            drawn = self._draw(
                [self.prompts[row] + chosen[row].answer for row in grown],
                self.options.copies,
                derive_seed(self.seed, "continuations", number),
            )
            leaves = [
                (row, self._hang(row, chosen[row], continuation))
                for row, some in zip(grown, drawn, strict=True)
                for continuation in some
            ]
            self._judge(leaves, number)
        pairs = [pair for row in range(len(self.tasks)) for pair in self._pairs(row)]
        return SearchedPairs(pairs, self.rewards)

    def _draw(self, texts: Sequence[Tokens], copies: int, seed: int) -> list[list[Continuation]]:
        if not texts:
            return []
        drawn = [list(some) for some in self.propose(texts, copies, seed)]
        if [len(some) for some in drawn] != [copies] * len(texts):
            raise InputError(
                f"propose: expected {copies} continuations of each of {len(texts)} texts, got "
                f"{[len(some) for some in drawn][:5]} of {len(drawn)}"
            )
        return drawn

    def _hang(self, row: int, node: TreeNode, continuation: Continuation) -> TreeNode:
        """Put a continuation below a node as a chain; returns its last node."""
        tree, task = self.trees[row], self.tasks[row]
        node.expanded = True
        pieces = self.options.pieces(continuation)
        room = self.options.depth - node.depth
        if len(pieces) > room:
            rest = pieces[room - 1 :]
            tokens = tuple(token for piece, _ in rest for token in piece)
            pieces = [*pieces[: room - 1], (tokens, rest[0][1])]
        for place, (piece, prior) in enumerate(pieces):
            turn = self.environment.step(task, self._text(node.answer + piece))
            last = place == len(pieces) - 1
            ended = turn.done or (continuation.finished and last)
            observed = () if ended else tuple(self.tokenizer.encode(turn.observation))
            fast = self.fast_reward(task, self._text(piece)) if self.fast_reward else 0.0
            node = tree.add(node, piece, prior=prior, observed=observed, ended=ended, fast=fast)
            if ended or observed:  # what was written behind an observation did not know of it
                break
        return node

    def _judge(self, leaves: list[tuple[int, TreeNode]], number: int) -> None:
        """Complete the answers of leaves, and back up their rewards."""
        answers = {id(leaf): leaf.answer for _, leaf in leaves}
        running = {id(leaf): (row, leaf) for row, leaf in leaves if not leaf.ended}
        for turn in range(self.options.turns):
            texts = [self.prompts[row] + answers[key] for key, (row, _) in running.items()]
            seed = derive_seed(self.seed, "completions", number, turn)
            for key, (some,) in zip(list(running), self._draw(texts, 1, seed), strict=True):
                row, _ = running[key]
                answers[key] += tuple(some.tokens)
                after = self.environment.step(self.tasks[row], self._text(answers[key]))
                if after.done or (some.finished and not after.observation):
                    del running[key]
                else:
                    answers[key] += tuple(self.tokenizer.encode(after.observation))
        for row, leaf in leaves:
            if leaf.reward is None or not leaf.ended:
                leaf.reward = self._verify(row, answers[id(leaf)])
            self.trees[row].back_up(leaf, leaf.reward)
            self.rewards[row].append(leaf.reward)

    def _verify(self, row: int, answer: Tokens) -> float:
        reward = float(self.environment.verify(self.tasks[row], self._text(answer)))
        if not math.isfinite(reward):
            raise InputError(f"verify: expected a finite number, got {reward} for task {row}")
        return reward

    def _pairs(self, row: int) -> list[FragmentPair]:
        options, found = self.options, []
        for node in self.trees[row].nodes():
            if len(node.children) < 2:
                continue
            ranked = sorted(node.children, key=lambda child: -child.value(options.value))
            best, worst = ranked[0], ranked[-1]
            high, low = best.value(options.value), worst.value(options.value)
            overlap = word_overlap(self._text(best.piece), self._text(worst.piece))
            if (
                high - low >= options.min_gap
                and overlap <= options.max_overlap
                and high >= options.min_value
            ):
                prefix = self.prompts[row] + node.answer
                found.append(
                    FragmentPair(row, prefix, best.piece, worst.piece, high - low, best.depth)
                )
        return found

    def _text(self, tokens: Tokens) -> str:
        return self.tokenizer.decode([token for token in tokens if token not in self.stop])
