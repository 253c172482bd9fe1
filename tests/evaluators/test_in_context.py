"""Options after exemplars, against prompts that are written out."""

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.evaluators.in_context import draw_exemplars, in_context_scores
from gradatim.language.transformers_lm import TransformersLM
from tests.language.tiny_models import character_tokenizer, tiny_model

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

ASKED, OPTIONS = ["1 + 1?", "2 * 3?"], [["2", "13"], ["5", "6", "9"]]
SHOWN = [("0 + 1?", "1"), ("2 + 2?", "4")]
TEMPLATE = "P: {}\nS:"


def model(**changes):
    return TransformersLM(tiny_model(**{"max_position_embeddings": 128, **changes}))


def likelihood(model, prompt, option):
    """Of an option behind a prompt, both as text."""
    tokenizer = character_tokenizer()
    before = tokenizer(prompt)["input_ids"]
    ids = torch.tensor([tokenizer(prompt + " " + option)["input_ids"]])
    with torch.no_grad():
        p = model.logits(model(ids, torch.ones_like(ids) > 0))[0].log_softmax(1)
    return float(sum(p[t - 1, ids[0, t]] for t in range(len(before), ids.shape[1])))


@pytest.mark.parametrize("shown", [[], SHOWN])
@pytest.mark.parametrize("normalize", ["sum", "mean", "unconditional"])
def test_scores(shown, normalize):
    lm = model()
    found = in_context_scores(
        lm, character_tokenizer(), ASKED, OPTIONS, shown, template=TEMPLATE, normalize=normalize
    )
    before = "".join(f"P: {asked}\nS: {told}\n\n" for asked, told in shown)
    for row, (asked, own) in enumerate(zip(ASKED, OPTIONS, strict=True)):
        for column, option in enumerate(own):
            expected = likelihood(lm, f"{before}P: {asked}\nS:", option)
            if normalize == "mean":
                expected /= len(option) + 1
            if normalize == "unconditional":
                expected -= likelihood(lm, "S:", option)
            assert found.values[row, column] == pytest.approx(expected, abs=1e-4)
    assert found.values[0, 2] == -np.inf and found.probabilities[0, 2] == 0.0
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1.0)
    assert found.dropped.tolist() == [0, 0]


def test_a_prompt_that_does_not_fit():
    lm = model(max_position_embeddings=40)
    options = {"template": TEMPLATE}
    with pytest.raises(InputError, match=r"question 0 .* exemplars is .* too long"):
        in_context_scores(lm, character_tokenizer(), ASKED, OPTIONS, SHOWN, **options)
    found = in_context_scores(
        lm, character_tokenizer(), ASKED, OPTIONS, SHOWN, overflow="drop", **options
    )
    one = in_context_scores(lm, character_tokenizer(), ASKED, OPTIONS, SHOWN[:1], **options)
    assert found.dropped.tolist() == [1, 1]
    np.testing.assert_array_equal(found.values, one.values)


def test_exemplars_are_drawn_from_the_rows():
    rows = np.array([3, 5, 8, 13, 21])
    drawn = draw_exemplars(rows, 3, 0)
    assert len(set(drawn.tolist())) == 3 and set(drawn.tolist()) <= set(rows.tolist())
    assert sorted(draw_exemplars(rows, 9, 0).tolist()) == rows.tolist()
    assert draw_exemplars(rows, 0, 0).shape == (0,)
    assert draw_exemplars(rows, 4, 0, 1).tolist() != draw_exemplars(rows, 4, 0, 2).tolist()
    often = np.stack([draw_exemplars(rows, 2, seed) for seed in range(2000)])
    shares = [(often[:, 0] == row).mean() for row in rows]
    np.testing.assert_allclose(shares, 0.2, atol=0.04)
    with pytest.raises(InputError, match="shots"):
        draw_exemplars(rows, -1, 0)
