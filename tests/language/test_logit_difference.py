"""Two models as one: closed forms, a loop, and sampling."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.language.logit_difference import LogitDifferenceLM, relative_top_mask
from gradatim.language.option_likelihood import option_log_likelihoods
from gradatim.language.sampling import sample
from gradatim.networks.decoder import SmallDecoder

IDS = torch.tensor([[3, 4, 5, 6], [7, 8, 1, 0]])
MASK = torch.tensor([[True] * 4, [True, True, True, False]])


def model(seed, layers=1, vocabulary=12):
    torch.manual_seed(seed)
    made = SmallDecoder(vocabulary, hidden_size=8, layers=layers, decoding_dtype=torch.float32)
    with torch.no_grad():
        made.head.weight.normal_()
    return made.eval()


def logits(one):
    with torch.no_grad():
        return one.logits(one(IDS, MASK))


def by_loop(row, rho):
    """The mask as the equation has it, token by token."""
    logp = row.double().log_softmax(0)
    nth = sorted(logp.tolist(), reverse=True)[max(1, math.floor(rho * len(row))) - 1]
    least = min(float(logp.max()) + math.log(rho), nth)
    return [bool(value >= least - 1e-12) for value in logp]


@given(
    st.lists(st.integers(-40, 40).map(lambda n: n / 2), min_size=1, max_size=12),
    st.floats(0.001, 1.0),
)
def test_likely_tokens_are_those_of_a_loop(values, rho):
    row = torch.tensor(values, dtype=torch.float64)
    found = relative_top_mask(row, rho)
    wanted = by_loop(row, rho)
    near = (row - row.max() - math.log(rho)).abs() < 1e-9  # equal but for rounding
    assert [f or n for f, n in zip(found.tolist(), near.tolist(), strict=True)] == [
        w or n for w, n in zip(wanted, near.tolist(), strict=True)
    ]
    assert found[row.argmax()]
    assert int(found.sum()) >= max(1, math.floor(rho * len(values)))


def test_every_token_is_kept_at_both_ends():
    row = torch.randn(50)
    assert relative_top_mask(row, 0.0).all() and relative_top_mask(row, 1.0).all()


def test_an_assistant_that_knows_nothing_changes_nothing():
    base, assistant = model(0), model(1)
    with torch.no_grad():
        assistant.head.weight.fill_(0.3)  # all logits of a token are alike
    for rho in (0.0, 0.05):
        both = LogitDifferenceLM(base, assistant, weight=-0.9, relative_top=rho)
        torch.testing.assert_close(logits(both), logits(base))


def test_an_offset_of_the_assistant_matters_only_uncentered():
    base, assistant = model(0), model(1)
    plain = {c: logits(LogitDifferenceLM(base, assistant, center=c)) for c in (True, False)}
    assistant.head.bias = torch.nn.Parameter(torch.full((12,), 5.0))
    moved = {c: logits(LogitDifferenceLM(base, assistant, center=c)) for c in (True, False)}
    torch.testing.assert_close(moved[True], plain[True])
    assert not torch.allclose(moved[False].softmax(-1), plain[False].softmax(-1), atol=1e-3)


def test_no_weight_is_the_model_and_itself_taken_away_is_uniform():
    base, assistant = model(0), model(1)
    torch.testing.assert_close(logits(LogitDifferenceLM(base, assistant, weight=0.0)), logits(base))
    nothing = LogitDifferenceLM(base, base, weight=-1.0, relative_top=0.0)
    torch.testing.assert_close(logits(nothing).softmax(-1), torch.full((2, 4, 12), 1 / 12))


def test_the_equation_on_tokens_that_are_likely():
    base, assistant = model(0), model(1)
    both = logits(LogitDifferenceLM(base, assistant, weight=-0.5, relative_top=0.2))
    own, taken = logits(base), logits(assistant)
    for place in MASK.nonzero().tolist():
        row, other = own[tuple(place)], taken[tuple(place)]
        kept = torch.tensor(by_loop(row, 0.2))
        wanted = torch.where(kept, row - 0.5 * (other - other.mean()), row)
        torch.testing.assert_close(both[tuple(place)], wanted)


def test_sampling_agrees_with_reading_and_draws_only_likely_tokens():
    base, assistant = model(0, layers=2), model(1)
    both = LogitDifferenceLM(base, assistant, weight=-0.8, relative_top=0.3)
    prompts = [[1, 2, 3], [4]]
    found = sample(both, prompts, copies=20, longest=5, seed=3)
    for prompt, answer in zip(found.prompt.tolist(), found.lists(), strict=True):
        ids = torch.tensor([[*prompts[prompt], *answer]])
        with torch.no_grad():
            kept = relative_top_mask(base.logits(base(ids, ids >= 0)), 0.3)[0]
        start = len(prompts[prompt])
        assert all(kept[start - 1 + n, token] for n, token in enumerate(answer))
    greedy = sample(both, prompts, longest=4, temperature=0.0).lists()
    for prompt, answer in zip(prompts, greedy, strict=True):
        ids = torch.tensor([prompt])
        for token in answer:
            with torch.no_grad():
                assert int(both.logits(both(ids, ids >= 0))[0, -1].argmax()) == token
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)


def test_it_reads_and_scores_as_any_model():
    both = LogitDifferenceLM(model(0), model(1))
    values = token_log_probabilities(both, IDS, MASK)
    wanted = logits(both).log_softmax(-1)[:, :-1].gather(2, IDS[:, 1:, None])[..., 0]
    torch.testing.assert_close(values[:, 1:].detach(), wanted * MASK[:, 1:])
    scores = option_log_likelihoods(both, [[3, 4]], [[[5, 6], [7]]])
    torch.testing.assert_close(scores[0, 0], values[0, 2:].sum().detach())


def test_bad_input_is_told():
    with pytest.raises(InputError, match="vocabulary of 12 tokens, got one of 11"):
        LogitDifferenceLM(model(0), model(1, vocabulary=11))
    with pytest.raises(InputError, match=r"expected the base model's precision torch.float32"):
        LogitDifferenceLM(model(0), model(1).bfloat16())
    with pytest.raises(InputError, match="relative_top"):
        LogitDifferenceLM(model(0), model(1), relative_top=1.5)
    with pytest.raises(InputError, match="relative_top"):
        relative_top_mask(torch.zeros(3), -0.1)


def test_two_differences_add_how_far_a_third_model_has_moved():
    """As the offset baseline of Ji et al. has it: what was learned, minus what was there before."""
    base, learned, before = model(0), model(1), model(2)
    moved = LogitDifferenceLM(base, learned, weight=1.0, relative_top=0.0)
    offset = LogitDifferenceLM(moved, before, weight=-1.0, relative_top=0.0)
    wanted = logits(base) + logits(learned) - logits(before)
    torch.testing.assert_close(logits(offset).softmax(-1), wanted.softmax(-1))
    greedy = sample(offset, [[3, 4, 5, 6]], longest=1, temperature=0.0).lists()
    assert greedy == [[int(wanted[0, -1].argmax())]]
