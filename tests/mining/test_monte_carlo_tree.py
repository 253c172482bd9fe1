"""The tree: bounds by hand, back-up, and what it refuses."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.mining.monte_carlo_tree import MonteCarloTree, TreeNode


def test_a_bound_by_hand() -> None:
    """W = 1, N = 1, four visits of the parent, p = 0.5."""
    parent = TreeNode(visits=4)
    node = TreeNode(prior=0.5, parent=parent, total=1.0, visits=1)
    assert node.bound(1.0) == pytest.approx(0.5 + 0.5 * math.sqrt(math.log(4) / 2))
    assert node.bound(0.0) == 0.5


def test_a_parent_that_was_never_visited_gives_no_nan() -> None:
    """Its visits count as one."""
    assert TreeNode(parent=TreeNode(), fast=0.3).bound(1.0) == 0.3


@given(rewards=st.lists(st.tuples(st.integers(0, 2), st.floats(-5, 5)), max_size=20))
def test_back_up_adds_up(rewards: list[tuple[int, float]]) -> None:
    """The root holds all rewards, a leaf its own, and the mean is theirs with the guess."""
    tree = MonteCarloTree(depth=2)
    branch = tree.add(tree.root, (1,), prior=1.0)
    leaves = [tree.add(branch, (2,), prior=1.0, fast=0.5), tree.add(tree.root, (3,), prior=1.0)]
    leaves.append(tree.add(branch, (4,), prior=1.0))
    for place, reward in rewards:
        tree.back_up(leaves[place], reward)
    assert tree.root.visits == len(rewards)
    assert tree.root.total == pytest.approx(sum(reward for _, reward in rewards))
    own = [reward for place, reward in rewards if place == 0]
    assert leaves[0].visits == len(own)
    assert leaves[0].value("sum") == pytest.approx(0.5 + sum(own))
    assert leaves[0].value() == pytest.approx(0.5 + sum(own) / max(1, len(own)))
    assert branch.visits == leaves[0].visits + leaves[2].visits


def test_selection_goes_down_what_was_gone_on_from() -> None:
    """To the best child of a node that was expanded, and no further than one that was not."""
    tree = MonteCarloTree(exploration=0.0, depth=3)
    good, bad = (tree.add(tree.root, (piece,), prior=1.0) for piece in (1, 2))
    assert tree.select() is tree.root
    tree.root.expanded = True
    tree.back_up(good, 1.0)
    assert tree.select() is good
    below = tree.add(good, (3,), prior=1.0)
    assert tree.select() is good
    good.expanded = True
    assert tree.select() is below
    for _ in range(5):
        tree.back_up(bad, 1.0)
    assert tree.select() is bad


def test_exploration_leads_to_what_is_likely_and_rarely_visited() -> None:
    """With c large the visits decide."""
    tree = MonteCarloTree(exploration=10.0)
    often, rarely = (tree.add(tree.root, (piece,), prior=0.5) for piece in (1, 2))
    tree.root.expanded = True
    for _ in range(6):
        tree.back_up(often, 1.0)
    tree.back_up(rarely, 0.0)
    assert tree.select() is rarely


def test_equal_pieces_are_one_node() -> None:
    """And observations stand behind them."""
    tree = MonteCarloTree()
    one = tree.add(tree.root, (1, 2), prior=0.5, observed=(9,))
    assert tree.add(tree.root, (1, 2), prior=0.1) is one
    assert one.answer == (1, 2, 9)
    assert [node.depth for node in tree.nodes()] == [0, 1]


def test_nothing_is_put_below_an_end() -> None:
    """Nor below the depth."""
    tree = MonteCarloTree(depth=1)
    with pytest.raises(InputError, match="parent"):
        tree.add(tree.add(tree.root, (1,), prior=1.0), (2,), prior=1.0)
    deep = MonteCarloTree(depth=5)
    with pytest.raises(InputError, match="parent"):
        deep.add(deep.add(deep.root, (1,), prior=1.0, ended=True), (2,), prior=1.0)


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"exploration": -1}, {"exploration": math.nan}])
def test_settings_out_of_range(wrong: dict[str, float]) -> None:
    """Are refused by name."""
    with pytest.raises(InputError, match=next(iter(wrong))):
        MonteCarloTree(**wrong)  # type: ignore[arg-type]
