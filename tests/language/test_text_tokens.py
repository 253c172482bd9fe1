"""Tokenizers for pieces of texts, with one of transformers where it is installed."""

import importlib.util

import pytest

from gradatim.core.errors import InputError
from gradatim.language.characters import CharacterTokenizer
from gradatim.language.text_tokens import PlainTokens, separator_tokens


@pytest.mark.skipif(importlib.util.find_spec("tokenizers") is None, reason="needs tokenizers")
def test_pieces_of_a_tokenizer_of_transformers() -> None:
    """Nothing is put in front of a piece, blanks stay, and pieces add up to the whole."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {one: number for number, one in enumerate(["<s>", *alphabet])}
    made = Tokenizer(models.BPE(vocabulary, [], byte_fallback=False))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    from tokenizers import decoders

    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")
    tokens = PlainTokens(tokenizer)
    text = "call: f(a = 1, b)\nresult: 2 ."
    assert tokenizer.encode(text)[0] == 0 not in tokens.encode(text)
    assert tokens.decode(tokens.encode(text)) == text
    assert tokens.encode(text[:9]) + tokens.encode(text[9:]) == tokens.encode(text)
    cut = separator_tokens(tokens, len(tokenizer), ["(", "= "])
    assert {tokens.decode([token]) for token in cut} == {"(", "="}


def test_bad_input() -> None:
    """No ending, a blank one, and no token."""
    tokens = CharacterTokenizer("ab")
    assert separator_tokens(tokens, 3, ["c"]) == frozenset()
    for endings in ([], ["a", " "]):
        with pytest.raises(InputError, match="endings"):
            separator_tokens(tokens, 3, endings)
    with pytest.raises(InputError, match="size"):
        separator_tokens(tokens, 0, ["a"])
