"""Buffers of self-sampled solutions: what is kept, learned, sampled behind, merged and saved."""

from collections import Counter
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.mining.self_sampled_solutions import SelfSampledSolutions, Step
from gradatim.training.serialization import load_state, save_state


def trace(problem, tokens):
    """Each token adds its value modulo 10; 7 gives the answer, which is right at a sum of 10.

    9 fails; 0 is a blank that does not count. The state is the sorted set of partial sums.
    """
    if 9 in tokens:
        return None
    steps, total, seen, blanks = [], 0, (), []
    for token in tokens:
        if token == 0:
            blanks.append(0)
            continue
        if token == 7:
            steps.append(Step((*blanks, 7), (*seen, "end"), total == 10 + problem, 7))
        else:
            total += token
            seen = tuple(sorted((*seen, total)))
            steps.append(Step((*blanks, token), seen, form=token))
        blanks = []
    return steps


def mined(reference=(5, 5, 7), **options):
    return SelfSampledSolutions([reference, (5, 6, 7)], trace, **options)


def known(solutions, problem=0):
    return [(one.tokens, one.complete) for one in solutions.solutions(problem)]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


REFERENCE = ((5, 5, 7), True)


def test_a_right_solution_is_kept_up_to_its_answer_and_once():
    solutions = mined(length_tolerance=9)
    assert solutions.add(0, [4, 6, 7, 1, 2]) == "complete"
    assert solutions.add(0, [4, 0, 6, 7]) == "known"  # a blank makes no other solution
    assert known(solutions) == [REFERENCE, ((4, 6, 7), True)]
    assert solutions.add(0, [5, 5, 7]) == "known"
    assert solutions.sizes(0) == (2, 0) and solutions.sizes(1) == (1, 0)


def test_samples_that_fail_or_reach_nothing_leave_no_trace():
    solutions = mined()
    assert solutions.add(0, [5, 9]) == "failed"
    for wrong in ([], [4], [4, 4, 7], [7]):
        assert solutions.add(0, wrong) == "nothing"
    assert known(solutions) == [REFERENCE]


def test_a_beginning_that_reaches_a_known_state_is_partial():
    # The reference reaches {5} and {5, 10}; 2 + 3 reaches {2, 5}, which is another state.
    solutions = mined()
    assert solutions.add(0, [2, 3, 4]) == "nothing"
    assert solutions.add(0, [5, 4, 7]) == "known"  # the beginning of the reference itself
    solutions.add(0, [4, 6, 7])
    # {4, 10} is reached by 10, -6 too, in as many steps.
    assert solutions.add(0, [10, -6, 3]) == "partial"
    assert known(solutions)[-1] == ((10, -6), False)


def test_the_furthest_state_counts_also_behind_unknown_ones():
    solutions = SelfSampledSolutions([(1, 2, 3, 4, 7)], trace)
    # The reference reaches {1}, {1, 3}, {1, 3, 6}, {1, 3, 6, 10}; 3 alone reaches nothing known.
    assert solutions.add(0, [3, -2, 5, 8, 7]) == "partial"
    assert known(solutions)[-1] == ((3, -2, 5), False)


def test_a_wrong_answer_ends_the_search_for_a_beginning():
    solutions = SelfSampledSolutions([(1, 2, 3, 4, 7)], trace)
    assert solutions.add(0, [3, -2, 7, 5]) == "partial"
    assert known(solutions)[-1] == ((3, -2), False)


def test_prefix_rules():
    """A longer partial solution replaces its beginning; a complete one removes its beginnings."""
    solutions = SelfSampledSolutions([(1, 2, 3, 4, 7)], trace)
    assert solutions.add(0, [3, -2]) == "partial"
    assert solutions.add(0, [3, -2, 5]) == "partial"
    assert known(solutions)[1:] == [((3, -2, 5), False)]
    assert solutions.add(0, [3, -2]) == "known"  # a kept one begins with it
    assert solutions.add(0, [3, -2, 5, 4, 7]) == "complete"
    assert known(solutions)[1:] == [((3, -2, 5, 4, 7), True)]
    assert solutions.add(0, [3, -2, 5]) == "known"  # a complete one begins with it


def test_beginnings_are_compared_step_by_step_not_as_text():
    def words(problem, tokens):  # two tokens a step: 1 2 is no beginning of 1 23
        pairs = [tuple(tokens[i : i + 2]) for i in range(0, len(tokens), 2)]
        return [Step(pair, len(pair) * place, pair == (8, 8)) if pair == (8, 8)
                else Step(pair, place) for place, pair in enumerate(pairs)]  # fmt: skip

    solutions = SelfSampledSolutions([(1, 2, 3, 4, 8, 8)], words)
    assert solutions.add(0, [1, 3]) == "partial"
    assert solutions.add(0, [1, 3, 3, 5]) == "partial"
    assert known(solutions)[1:] == [((1, 3, 3, 5), False)]
    assert solutions.add(0, [1]) == "partial"  # a step of its own


@pytest.mark.parametrize(
    ("tolerance", "outcome"), [(0, "nothing"), (1, "nothing"), (2, "complete")]
)
def test_right_solutions_that_are_too_long(tolerance, outcome):
    solutions = mined(length_tolerance=tolerance)
    assert solutions.add(0, [1, 2, 3, 4, 7]) == outcome


def test_the_right_beginning_of_a_solution_that_is_too_long_may_count():
    solutions = mined((4, 6, 7))
    assert solutions.add(0, [10, -6, 3, 3, 7]) == "partial"
    assert known(solutions)[-1] == ((10, -6), False)


def sums(problem, tokens):
    """A trace whose states do not remember the way: each token adds up to the answer 6."""
    totals = [sum(tokens[: place + 1]) for place in range(len(tokens))]
    ends = [None if total < 6 else total == 6 for total in totals]
    return [Step((t,), s, e) for t, s, e in zip(tokens, totals, ends, strict=True)]


def test_a_longer_way_to_a_state_needs_tolerance():
    strict = SelfSampledSolutions([(3, 3)], sums)
    assert strict.add(0, [1, 2, 1]) == "nothing"
    lenient = SelfSampledSolutions([(3, 3)], sums, length_tolerance=1)
    assert lenient.add(0, [1, 2, 1]) == "partial"
    # It is the shortest way that counts, also when a longer one is kept.
    assert lenient.add(0, [0, 0, 3]) == "nothing"


def test_partial_solutions_can_be_left_out():
    solutions = mined((4, 6, 7), partial=False)
    assert solutions.add(0, [10, -6, 3]) == "nothing"
    assert solutions.add(0, [6, 4, 7]) == "complete"


def test_a_problem_without_a_reference_takes_its_first_right_solution():
    solutions = SelfSampledSolutions([None], trace)
    assert known(solutions) == [] and solutions.starts([0]) == [()]
    assert solutions.add(0, [4, 6]) == "nothing"
    assert solutions.add(0, [1, 2, 3, 4, 7]) == "complete"
    assert solutions.add(0, [10, 7]) == "complete"
    assert solutions.add(0, [3, 7, 7]) == "nothing"


def drawn(solutions, problem, count=300):
    return Counter(solutions.starts([problem] * count, generator()))


def test_starts():
    options = {"length_tolerance": 0, "reference": (4, 6, 7)}
    parts = {start: mined(start=start, **options) for start in ("empty", "partial", "state")}
    for solutions in parts.values():
        solutions.add(0, [10, -6])
    assert set(drawn(parts["empty"], 0)) == {()}
    partial = drawn(parts["partial"], 0)
    assert set(partial) == {(), (10, -6)} and 110 < partial[()] < 190
    state = drawn(parts["state"], 0)
    # Four states, nothing among them; {4, 10} is reached in two ways, which share its draws.
    assert set(state) == {(), (4,), (10,), (4, 6), (10, -6)}
    assert 50 < state[(4,)] < 100 and state[(4, 6)] + state[(10, -6)] < 110
    assert set(drawn(parts["partial"], 1)) == {()}


def test_draws_depend_on_the_generator_alone():
    solutions = mined((4, 6, 7), most=2)
    for extra in ([10, -6], [6, 4, 7], [3, 7, 7], [2, 8, 7]):
        solutions.add(0, extra)
    for draw in (solutions.starts, lambda p, g: [solutions.solutions(0, g) for _ in p]):
        assert draw([0] * 20, generator(1)) == draw([0] * 20, generator(1))
        assert draw([0] * 20, generator(1)) != draw([0] * 20, generator(2))


def test_what_is_learned_when_there_is_too_much():
    def seen(**options):
        solutions = mined((4, 6, 7), **options)
        for extra in ([10, -6], [6, 4, 7], [3, 7, 7], [2, 8, 7], [8, 2, 7]):
            solutions.add(0, extra)
        assert solutions.sizes(0) == (4, 1)
        draws = [solutions.solutions(0, generator(seed)) for seed in range(60)]
        assert all(len(set(draw)) == len(draw) for draw in draws)
        return draws

    assert all(len(draw) == 5 for draw in seen(most=5))
    three = seen(most=3)
    assert all(len(draw) == 3 and all(one.complete for one in draw) for draw in three)
    assert len({one for draw in three for one in draw}) == 4
    mixed = seen(most=3, prefer_complete=False)
    assert len({one for draw in mixed for one in draw}) == 5
    assert all(draw[:4] == seen(most=5)[0][:4] for draw in seen(most=4))


def test_a_step_samples_behind_beginnings_and_says_what_to_learn():
    solutions = mined((4, 6, 7))
    solutions.add(0, [10, -6])
    asked = []

    def extend(problems, beginnings):
        asked.append((list(problems), beginnings))
        return [[[*beginning, 6, 7], [9]] for beginning in beginnings]

    outcomes = solutions.sample([0, 1, 0], extend, generator(3))
    assert asked[0][0] == [0, 1, 0] and set(asked[0][1]) <= {(), (10, -6)}
    assert sum(outcomes.values()) == 6 and outcomes["failed"] == 3
    learned = solutions.step([1, 0], extend, generator(4))
    assert [one.tokens for one in learned[0]] == [(5, 6, 7)]
    assert learned[1][0].tokens == (4, 6, 7)
    with pytest.raises(InputError, match="extend: expected 2 lists, got 1"):
        solutions.sample([0, 1], lambda problems, beginnings: [[]])


samples = st.lists(
    st.tuples(st.integers(0, 1), st.lists(st.sampled_from([1, 2, 3, 5, -1, 7]), max_size=6)),
    max_size=25,
)


def filled(some, **options):
    solutions = mined((1, 2, 3, 4, 7), length_tolerance=2, **options)
    for problem, tokens in some:
        solutions.add(problem, tokens)
    return solutions


@given(samples)
def test_invariants_of_any_buffer(some):
    solutions = filled(some)
    for problem in (0, 1):
        whole = [one.tokens for one in solutions.solutions(problem) if one.complete]
        parts = [one.tokens for one in solutions.solutions(problem) if not one.complete]
        assert len(set(whole + parts)) == len(whole) + len(parts)
        for part, other in product(parts, whole + parts):
            assert part == other or other[: len(part)] != part
        for tokens in whole:
            assert trace(problem, tokens)[-1].right is True
        # Each partial solution ends in a state that a complete one, or another partial, reaches.
        for part in parts:
            end = trace(problem, part)[-1].state
            others = [trace(problem, one) for one in [*whole, *parts] if one != part]
            reached = {step.state for steps in others for step in steps}
            assert end in reached


@given(samples, st.sampled_from(["partial", "state"]))
def test_a_saved_state_goes_on_as_if_nothing_had_been(some, start):
    solutions, other = (filled(one, start=start, most=3) for one in (some, []))
    other.load_state_dict(solutions.state_dict())
    for problem in (0, 1):
        assert known_all(other, problem) == known_all(solutions, problem)
        for seed in range(5):
            assert other.starts([problem], generator(seed)) == solutions.starts(
                [problem], generator(seed)
            )
    for tokens in ([2, 1, 3, 4, 7], [3, -1, 1]):
        assert other.add(0, tokens) == solutions.add(0, tokens)
    assert torch.equal(other.state_dict()["rows"], solutions.state_dict()["rows"])


def known_all(solutions, problem):
    buffer = solutions._buffer(problem)
    return buffer.complete, buffer.partial


def test_states_pass_through_a_checkpoint(tmp_path):
    solutions = filled([(0, [2, 1, 3, 4, 7]), (1, [6, 5, 7]), (0, [3, -1])])
    save_state(solutions.state_dict(), tmp_path, "state")
    other = filled([])
    other.load_state_dict(load_state(tmp_path, "state"))
    assert [known(other, p) for p in (0, 1)] == [known(solutions, p) for p in (0, 1)]


@given(samples, samples)
def test_workers_are_merged_into_what_both_have_found(first, second):
    one, two = filled(first), filled(second)
    before = [
        {tokens for tokens, whole in known(s, p) if whole} for s in (one, two) for p in (0, 1)
    ]
    apart = one.state_dict()
    one.merge(two.state_dict())
    two.merge(apart)
    for problem in (0, 1):
        whole = {tokens for tokens, complete in known(one, problem) if complete}
        assert whole == before[problem] | before[2 + problem]
        assert set(known(one, problem)) == set(known(two, problem))
        assert known(one, problem)[0][1]


@given(samples, samples)
def test_processes_are_brought_to_one_state_in_the_order_of_ranks(first, second):
    ranks = [filled(first), filled(second)]
    sent = []
    for rank in ranks:
        rank.synchronize(lambda rows: sent.append(rows) or rows[:0])
    ranks = [filled(first), filled(second)]
    for rank in ranks:
        rank.synchronize(lambda rows: torch.cat(sent))
    for problem in (0, 1):
        assert known_all(ranks[0], problem) == known_all(ranks[1], problem)
    quiet = []
    ranks[0].synchronize(lambda rows: quiet.append(rows) or rows)  # nothing new since
    assert len(quiet[0]) == 0 and known_all(ranks[0], 0) == known_all(ranks[1], 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": "full"}, "start: expected one of partial, state, empty, got 'full'"),
        ({"most": 0}, "most: expected a number in"),
        ({"length_tolerance": -1}, "length_tolerance: expected a number in"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(InputError, match=message):
        mined(**options)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ((9,), "references: the solution of problem 0 cannot be traced"),
        ((5, 7, 5, 7), "references: the solution of problem 0 does not give the right answer"),
        ((5, 5), "references: the solution of problem 0 does not give the right answer"),
        ((), "references: the solution of problem 0 does not give the right answer"),
    ],
)
def test_references_that_are_wrong(reference, message):
    with pytest.raises(InputError, match=message):
        mined(reference).solutions(0)


def test_problems_and_states_that_are_not_there():
    with pytest.raises(InputError, match="problem: expected a number in"):
        mined().add(2, [5])
    with pytest.raises(InputError, match="problem: expected a number in"):
        mined().add(-1, [5])
    state = SelfSampledSolutions([None], trace).state_dict()
    for take in (mined().load_state_dict, mined().merge):
        with pytest.raises(InputError, match="state: expected 2 problems, got those of 1"):
            take(state)
    changed = filled([(0, [2, 1, 3, 4, 7])]).state_dict()
    other = SelfSampledSolutions([None, None], lambda problem, tokens: None)
    with pytest.raises(InputError, match="trace: a kept solution of problem 0 can not be traced"):
        other.load_state_dict(changed)
