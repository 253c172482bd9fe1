"""A Monte Carlo tree over the pieces of an answer: where to go on, and what comes back."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError

Tokens = tuple[int, ...]
VALUES = ("mean", "sum")


@dataclass(eq=False)
class TreeNode:
    """A piece of an answer, below the pieces that stand before it.

    Attributes:
        piece: the tokens that the model wrote.
        answer: all tokens behind the prompt up to here, observations included.
        prior: p, how likely the model found the piece.
        depth: pieces from the root.
        parent: the node before; None for the root.
        ended: whether the answer ends here.
        fast: the guess at its value when it was made.
        total: sum of the rewards that were backed up through it.
        visits: N, how many there were.
        expanded: whether continuations have been drawn from here.
        reward: of a leaf's answer, once it is known.
        children: pieces that may follow.
    """

    piece: Tokens = ()
    answer: Tokens = ()
    prior: float = 1.0
    depth: int = 0
    parent: "TreeNode | None" = field(default=None, repr=False)
    ended: bool = False
    fast: float = 0.0
    total: float = 0.0
    visits: int = 0
    expanded: bool = False
    reward: float | None = None
    children: "list[TreeNode]" = field(default_factory=list, repr=False)

    def value(self, kind: str = "mean") -> float:
        """The guess and the rewards, their mean or their sum."""
        return self.fast + (self.total / max(1, self.visits) if kind == "mean" else self.total)

    def bound(self, exploration: float) -> float:
        r"""How much a search gains by going here, at best.

        .. math:: \frac{W}{N + 1} + c \, p \sqrt{\frac{\ln N_{parent}}{N + 1}}

        W is the guess and the sum of rewards; a parent counts as visited at least once.
        """
        parent = max(1, self.parent.visits) if self.parent is not None else 1
        spread = math.sqrt(math.log(parent) / (self.visits + 1))
        return (self.fast + self.total) / (self.visits + 1) + exploration * self.prior * spread


class MonteCarloTree:
    """One tree: which node to go on from, what is added below it, and what comes back.

    Args:
        exploration: c, how much a rarely visited node gains.
        depth: pieces below the root at most.

    Raises:
        InputError: a number below its range.

    >>> tree = MonteCarloTree(depth=2)
    >>> one = tree.add(tree.root, (5,), prior=0.5)
    >>> leaf = tree.add(one, (6, 7), prior=0.9, ended=True)
    >>> tree.back_up(leaf, 1.0)
    >>> (leaf.answer, one.visits, tree.root.total, tree.select() is tree.root)
    ((5, 6, 7), 1, 1.0, True)
    """

    def __init__(self, *, exploration: float = 1.0, depth: int = 3) -> None:
        check_range("exploration", exploration, 0)
        check_range("depth", depth, 1)
        self.exploration, self.depth = exploration, depth
        self.root = TreeNode()

    def select(self) -> TreeNode:
        """Go down from the root by the largest bound, to a node that was not gone on from yet."""
        node = self.root
        while node.expanded and node.children:
            node = max(node.children, key=lambda child: child.bound(self.exploration))
        return node

    def closed(self, node: TreeNode) -> bool:
        """Whether nothing is added below a node: its answer has ended, or it is too deep."""
        return node.ended or node.depth >= self.depth

    def add(
        self,
        parent: TreeNode,
        piece: Tokens,
        *,
        prior: float,
        observed: Tokens = (),
        ended: bool = False,
        fast: float = 0.0,
    ) -> TreeNode:
        """Put a piece below a node; of equal pieces there is one.

        Raises:
            InputError: the node is closed.
        """
        if self.closed(parent):
            raise InputError("parent: expected a node that has not ended, above the depth")
        for child in parent.children:
            if child.piece == piece:
                return child
        answer = parent.answer + piece + observed
        node = TreeNode(piece, answer, prior, parent.depth + 1, parent, ended, fast)
        parent.children.append(node)
        return node

    def back_up(self, node: TreeNode, reward: float) -> None:
        """Add a reward and a visit to a node and all above it."""
        above: TreeNode | None = node
        while above is not None:
            above.total += reward
            above.visits += 1
            above = above.parent

    def nodes(self) -> Iterator[TreeNode]:
        """All nodes, parents before children."""
        waiting = [self.root]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children)
