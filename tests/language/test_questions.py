"""Prompts of questions, read back as text."""

import pytest

from gradatim.core.errors import InputError
from gradatim.language.questions import encode_questions
from tests.language.tiny_models import character_tokenizer

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

ASKED, OPTIONS = ["1 + 1?", "2 * 3?"], [["2", "3"], ["5", "6", "9"]]
SHOWN = [("0 + 1?", "1"), ("2 + 2?", "4")]


def encode(questions=ASKED, options=OPTIONS, exemplars=(), **given):
    return encode_questions(character_tokenizer(), questions, options, exemplars, **given)


def text(tokens):
    return character_tokenizer().decode(tokens)


def test_texts():
    zero = encode()
    assert text(zero.prompts[0]) == "<unk>uestion: 1 + 1?\nAnswer:"  # it does not know a Q
    assert [[text(one) for one in own] for own in zero.options] == [
        [" 2", " 3"],
        [" 5", " 6", " 9"],
    ]
    assert zero.dropped == [0, 0]
    shown = encode(exemplars=SHOWN, template="P: {}\nS:")
    assert text(shown.prompts[1]) == "P: 0 + 1?\nS: 1\n\nP: 2 + 2?\nS: 4\n\nP: 2 * 3?\nS:"
    assert text(shown.unconditional) == "S:"


def test_exemplars_have_the_same_tokens_before_every_question():
    shown, bare = encode(exemplars=SHOWN), encode()
    before = [len(one) - len(own) for one, own in zip(shown.prompts, bare.prompts, strict=True)]
    assert before[0] == before[1] > 0
    assert shown.prompts[0][: before[0]] == shown.prompts[1][: before[0]]
    assert shown.prompts[1][before[1] :] == bare.prompts[1] and shown.options == bare.options


class WithStart:
    """Puts a token of its own before every text, and one for a space that begins a text."""

    def __call__(self, text, *, add_special_tokens=True):
        tokens = [ord(one) for one in text]
        if tokens[:1] == [32]:
            tokens = [0, *tokens]
        return {"input_ids": [1, *tokens] if add_special_tokens else tokens}


def test_a_token_before_the_text_and_options_as_they_follow_the_cue():
    found = encode_questions(WithStart(), ["x"], [["y", "zz"]], [("a", "b")], template="{}:")
    assert found.prompts == [[1, *map(ord, "a: b\n\nx:")]]
    assert found.options == [[[*map(ord, " y")], [*map(ord, " zz")]]]
    assert found.unconditional == [1, ord(":")]


class Merging(WithStart):
    """Makes one token of a colon and what follows it: options cannot be split from the cue."""

    def __call__(self, text, *, add_special_tokens=True):
        return {"input_ids": [hash(text) % 1000] if text else []}


def test_options_that_cannot_be_split_from_the_cue_are_encoded_apart():
    found = encode_questions(Merging(), ["x"], [["y"]], template="{}:")
    assert found.options == [[[hash(" y") % 1000]]]


def test_braces_are_text():
    found = encode(questions=["a {} {0} b", "x"], template="P: {}\nS:")
    assert text(found.prompts[0]).startswith("P: a ") and text(found.prompts[0]).endswith(" b\nS:")


def test_exemplars_that_do_not_fit():
    whole = encode(exemplars=SHOWN)
    longest = max(
        len(prompt) + max(map(len, own))
        for prompt, own in zip(whole.prompts, whole.options, strict=True)
    )
    assert encode(exemplars=SHOWN, context_length=longest).prompts == whole.prompts
    with pytest.raises(InputError, match=r"question 0 .* with 2 exemplars is 1 tokens too long"):
        encode(exemplars=SHOWN, context_length=longest - 1)
    cut = encode(exemplars=SHOWN, context_length=longest - 1, overflow="drop")
    assert cut.dropped == [1, 1] and cut.prompts == encode(exemplars=SHOWN[:1]).prompts
    bare = encode()
    room = len(bare.prompts[0]) + 2
    assert encode(exemplars=SHOWN, context_length=room, overflow="drop").prompts == bare.prompts
    for overflow in ("drop", "error"):
        with pytest.raises(InputError, match=r"question 0 .* by itself is 1 tokens too long"):
            encode(exemplars=SHOWN, context_length=room - 1, overflow=overflow)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"template": "Q: x"}, "template: expected one {}"),
        ({"template": "{} {} A:"}, "template: expected one {}"),
        ({"template": "Q: {}"}, "something behind it"),
        ({"overflow": "skip"}, "overflow: expected one of error, drop"),
        ({"options": [["2"]]}, "expected equal lengths"),
        ({"options": [["2"], ["3", " "]]}, "options: expected texts in question 1, got ' '"),
    ],
)
def test_bad_input(given, told):
    with pytest.raises(InputError, match=told):
        encode(**given)
