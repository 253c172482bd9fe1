"""What a model reads of a row, and what it makes of it, against the same by hand."""

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.evaluators.answers import AnswerVerifier
from gradatim.workflows.score_language import (
    AttemptSettings,
    LanguageScorer,
    reference_answer,
    sample_attempts,
)
from gradatim.workflows.score_texts import TextRow
from gradatim.workflows.text_encoding import render
from tests.workflows.score_data import tiny

CHAT = TextRow(
    (("user", "2+3"), ("assistant", "5"), ("user", "7+1"), ("assistant", "8 is it")), "chat"
)
PAIR = TextRow((("user", "2+3="), ("assistant", "5")), "joined")


def place(row):
    return f"data, row {row}"


def loss_of(loaded, text, spans):
    """Mean negative log-probability of the characters in the spans, by the model itself."""
    ids = torch.tensor([loaded.tokenizer(text, add_special_tokens=False)["input_ids"]])
    with torch.no_grad():
        logits = loaded.model.inner(input_ids=ids).logits[0].float().log_softmax(-1)
    places = [one for low, high in spans for one in range(low, high) if one]
    return -np.mean([float(logits[one - 1, ids[0, one]]) for one in places])


def test_a_prompt_and_its_completion_are_read_as_one_text():
    loaded = tiny()
    found = LanguageScorer(loaded)([PAIR], place)
    assert found["loss"][0] == pytest.approx(loss_of(loaded, "2+3=5", [(4, 5)]), abs=1e-5)
    assert found["tokens"].tolist() == [1] and found["_cut"].tolist() == [0]
    assert found["perplexity"][0] == pytest.approx(np.exp(found["loss"][0]))


def test_all_turns_of_the_assistant_count_and_nothing_else():
    loaded = tiny(chat=True)
    one = render(loaded.tokenizer, CHAT, place, 0)
    assert [one.text[low:high] for low, high in one.spans] == ["5<end>", "8 is it<end>"]
    last = render(loaded.tokenizer, TextRow(CHAT.turns, "chat", only_last=True), place, 0)
    assert [last.text[low:high] for low, high in last.spans] == ["8 is it<end>"]


def test_the_loss_of_a_conversation():
    loaded = tiny(chat=True)
    row = TextRow((("user", "2+3"), ("assistant", "5")), "chat")
    text = "<u>2+3<end>\n<a>5"
    ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    rendered = render(loaded.tokenizer, row, place, 0)
    assert rendered.text.startswith(text) and rendered.spans[0][0] == len(text) - 1
    found = LanguageScorer(loaded)([row], place)
    assert found["tokens"][0] == 2 and len(ids) + 2 > 0  # the answer, and the end of the turn


def test_questions_use_the_template_if_there_is_one():
    row = TextRow((("user", "2+3?"), ("assistant", "5")), "question")
    assert render(tiny(chat=True).tokenizer, row, place, 0).text == "<u>2+3?<end>\n<a>5<end>\n"
    plain = render(tiny().tokenizer, row, place, 0)
    assert plain.text == "2+3?\n5" and plain.spans == ((5, 6),)
    assert render(tiny().tokenizer, CHAT, place, 0).text.startswith("user: 2+3\nassistant: 5\n")


def test_batches_do_not_change_figures():
    loaded = tiny()
    rows = [
        TextRow((("user", "1" * n), ("assistant", "2" * (9 - n))), "joined") for n in range(1, 9)
    ]
    whole = LanguageScorer(loaded)(rows, place)
    alone = [LanguageScorer(loaded, batch_tokens=1)([row], place) for row in rows]
    for name, values in whole.items():
        np.testing.assert_allclose(values, [one[name][0] for one in alone], atol=1e-5)


def test_preference_is_the_difference_of_both_losses():
    loaded = tiny()
    rejected = (("user", "2+3="), ("assistant", "66"))
    found = LanguageScorer(loaded)([TextRow(PAIR.turns, "joined", rejected=rejected)], place)
    expected = loss_of(loaded, "2+3=5", [(4, 5)]) - loss_of(loaded, "2+3=66", [(4, 6)])
    assert found["preference"][0] == pytest.approx(expected, abs=1e-5)


def test_what_is_too_long_loses_the_front_of_its_prompt():
    loaded = tiny()
    long = TextRow((("user", "1" * 80 + "+"), ("assistant", "23")), "joined")
    encoded = LanguageScorer(loaded).encode([long, PAIR], place)
    assert encoded.cut == [True, False]
    assert len(encoded.ids[0]) == 64 and encoded.counted[0] == [False] * 62 + [True] * 2
    assert LanguageScorer(loaded)([long], place)["tokens"][0] == 2
    endless = TextRow((("user", "1"), ("assistant", "2" * 90)), "joined")
    assert sum(LanguageScorer(loaded).encode([endless], place).counted[0]) == 63


def test_slow_tokenizers_read_piece_by_piece():
    loaded = tiny()
    slow = type("Slow", (), {"is_fast": False, "chat_template": None})()
    fast = loaded.tokenizer
    slow_call = type(slow)
    slow_call.__call__ = lambda self, text, add_special_tokens: fast(
        text, add_special_tokens=add_special_tokens
    )
    other = type(loaded)(loaded.model, slow, "slow")
    a, b = LanguageScorer(loaded).encode([PAIR], place), LanguageScorer(other).encode([PAIR], place)
    assert a == b


def test_templates_that_refuse_are_named():
    loaded = tiny(chat=True)
    loaded.tokenizer.chat_template = "{{ raise_exception('only users') }}"
    with pytest.raises(InputError, match="data, row 0: the model's chat template refuses"):
        LanguageScorer(loaded)([CHAT], place)
    loaded.tokenizer.chat_template = (
        "{% for m in messages | reverse %}{{ m['content'] | upper }}{% endfor %}"
    )
    with pytest.raises(InputError, match="changes what the assistant says"):
        LanguageScorer(loaded)([CHAT], place)


def test_attempts_are_sampled_and_verified():
    loaded, how = tiny(max_position_embeddings=128), AttemptSettings(copies=6, longest=4, seed=1)
    rows = [TextRow((("user", f"{n}+1?"), ("assistant", "#### 7")), "question") for n in range(5)]
    with AnswerVerifier(equality="exact") as verifier:
        right, trials = sample_attempts(loaded, rows, verifier, how, start=0, place=place)
        again, _ = sample_attempts(loaded, rows, verifier, how, start=0, place=place)
    assert trials.tolist() == [6] * 5 and right.tolist() == again.tolist()
    assert right.max() <= 6
    with pytest.raises(InputError, match="data, row 0: expected a question that leaves room"):
        sample_attempts(loaded, rows, verifier, AttemptSettings(longest=126), start=0, place=place)


def test_reference_answers():
    assert reference_answer(r"so $\boxed{\frac12}$.") == r"\frac12"
    assert reference_answer("  blue ") == "blue"
