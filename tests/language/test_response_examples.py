"""Batches of prompts and responses against rows put together one by one."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from gradatim.core.errors import InputError
from gradatim.core.examples import as_examples
from gradatim.language.response_examples import PreferenceExamples, ResponseExamples
from gradatim.language.sampling import Responses, as_responses

token_lists = st.lists(st.integers(1, 9), max_size=5)


@st.composite
def cases(draw):
    """Prompts, responses (several to one prompt, some empty), and positions of a batch."""
    prompts = draw(st.lists(token_lists, min_size=1, max_size=4))
    texts = draw(st.lists(token_lists, min_size=1, max_size=6))
    responses = as_responses(texts)
    which = draw(st.lists(st.sampled_from(range(len(prompts))), min_size=len(texts),
                          max_size=len(texts)))  # fmt: skip
    responses = Responses(
        torch.tensor(which), responses.tokens, responses.lengths, responses.log_probabilities,
        responses.finished,
    )  # fmt: skip
    positions = draw(st.lists(st.sampled_from(range(len(texts))), min_size=1, max_size=5))
    return prompts, texts, responses, positions


def naive(prompts, texts, which, positions, column=None, outside=0):
    """Rows as lists, padded on the right: ids, mask, response and one column of tokens."""
    rows = []
    for position in positions:
        prompt, text = prompts[which[position]], texts[position]
        values = [outside] * len(prompt) + ([] if column is None else column[position][: len(text)])
        rows.append((prompt + text, [False] * len(prompt) + [True] * len(text), values))
    width = max(len(ids) for ids, _, _ in rows)
    pad = [width - len(ids) for ids, _, _ in rows]
    return (
        [ids + [0] * p for (ids, _, _), p in zip(rows, pad, strict=True)],
        [[True] * len(ids) + [False] * p for (ids, _, _), p in zip(rows, pad, strict=True)],
        [response + [False] * p for (_, response, _), p in zip(rows, pad, strict=True)],
        [values + [outside] * p for (_, _, values), p in zip(rows, pad, strict=True)],
    )


@given(cases())
def test_batches_against_naive_construction(case):
    prompts, texts, responses, positions = case
    which = responses.prompt.tolist()
    columns = {
        "numbers": torch.rand(responses.tokens.shape),
        "steps": torch.randint(0, 5, responses.tokens.shape),
        "flags": torch.rand(responses.tokens.shape) < 0.5,
    }
    score = torch.rand(len(texts), 2)
    examples = ResponseExamples(prompts, responses, tokens=columns, rows={"score": score})
    batch = examples[positions]
    assert set(batch) == {"ids", "mask", "response", "score", *columns}
    for name, outside in (("numbers", 0.0), ("steps", -1), ("flags", False)):
        ids, mask, response, values = naive(
            prompts, texts, which, positions, columns[name].tolist(), outside
        )
        assert batch[name].tolist() == values and batch[name].dtype == columns[name].dtype
    assert batch["ids"].tolist() == ids and batch["ids"].dtype == torch.long
    assert batch["mask"].tolist() == mask and batch["response"].tolist() == response
    assert torch.equal(batch["score"], score[positions])
    assert len(examples) == len(texts)
    expected = [len(prompts[w]) + len(t) for w, t in zip(which, texts, strict=True)]
    assert examples.lengths.tolist() == expected


@given(cases(), st.randoms())
def test_pairs_against_two_sets_of_examples(case, random):
    prompts, texts, chosen, positions = case
    rejected = Responses(
        chosen.prompt, chosen.tokens.flip(0), chosen.lengths.flip(0),
        chosen.log_probabilities, chosen.finished,
    )  # fmt: skip
    weight = torch.rand(len(texts))
    batch = PreferenceExamples(prompts, chosen, rejected, rows={"weight": weight})[positions]
    for side, responses in (("chosen", chosen), ("rejected", rejected)):
        alone = ResponseExamples(prompts, responses)[positions]
        for name, values in alone.items():
            assert torch.equal(batch.pop(f"{side}_{name}"), values)
    assert torch.equal(batch.pop("weight"), weight[positions]) and not batch


def test_examples_as_fit_wants_them():
    examples = ResponseExamples([[1, 2], [3]], as_responses([[4], [5, 6]]))
    assert as_examples(examples) is examples
    assert examples[[]]["ids"].shape == (0, 0)


def test_arguments_that_do_not_fit():
    responses, prompts = as_responses([[4], [5, 6]]), [[1, 2], [3]]
    with pytest.raises(
        InputError, match=r"labels: expected the shape of responses.tokens \[2, 2\]"
    ):
        ResponseExamples(prompts, responses, tokens={"labels": torch.zeros(2, 3)})
    with pytest.raises(
        InputError, match=r"labels: expected the shape of responses.tokens \[2, 2\]"
    ):
        ResponseExamples(prompts, responses, tokens={"labels": torch.zeros(2, 2, 1)})
    with pytest.raises(InputError, match=r"weight: expected a shape that begins with \[2\]"):
        ResponseExamples(prompts, responses, rows={"weight": torch.zeros(3)})
    with pytest.raises(InputError, match="expected each name once, got 'mask' again"):
        ResponseExamples(prompts, responses, rows={"mask": torch.zeros(2)})
    with pytest.raises(InputError, match="expected each name once, got 'a' again"):
        ResponseExamples(
            prompts, responses, rows={"a": torch.zeros(2)}, tokens={"a": torch.zeros(2, 2)}
        )
    with pytest.raises(InputError, match="response 1 answers prompt 1"):
        ResponseExamples([[1, 2]], responses)


def test_pairs_that_do_not_fit():
    prompts, chosen = [[1, 2], [3]], as_responses([[4], [5, 6]])
    with pytest.raises(InputError, match="chosen has 2, rejected has 1"):
        PreferenceExamples(prompts, chosen, chosen.select(torch.tensor([0])))
    with pytest.raises(InputError, match="pair 0 answers prompts 0 and 1"):
        PreferenceExamples(prompts, chosen, chosen.select(torch.tensor([1, 0])))
    with pytest.raises(InputError, match="'chosen_ids', which is taken"):
        PreferenceExamples(prompts, chosen, chosen, rows={"chosen_ids": torch.zeros(2)})
    with pytest.raises(InputError, match="chosen has 2, weight has 3"):
        PreferenceExamples(prompts, chosen, chosen, rows={"weight": torch.zeros(3)})
