"""Prompts hold what they should, and every token is given the step in which it begins."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.problems import Problem
from gradatim.language.prompts import build_prompts, cut_tokens
from gradatim.language.text_steps import TextSteps
from tests.language.tiny_models import character_tokenizer

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

PROBLEMS = [Problem("1+1=?", "2", 1), Problem("what is 10-3?", "7", 2)]
EXEMPLAR = Problem("2+2=?", "4", 1, "it is 4.")
TEMPLATE = (
    "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}#{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


def merging_tokenizer(*merged):
    """Like the tokenizer of characters, but these texts are single tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = "\n abc.12"
    vocab = {name: index for index, name in enumerate(["<end>", "<unk>", *letters])}
    merges = []
    for text in merged:
        for end in range(2, len(text) + 1):
            merges.append((text[: end - 1], text[end - 1]))
            vocab.setdefault(text[:end], len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab, list(dict.fromkeys(merges)), unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([])
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>")


def test_plain_prompts():
    tokenizer = character_tokenizer()
    prompts = build_prompts(tokenizer, PROBLEMS, exemplars=[EXEMPLAR])
    text = "Problem: 2+2=?\nSolution: it is 4.\n\nProblem: 1+1=?\nSolution:"
    assert tokenizer.decode(prompts.ids[0]) == text
    assert (prompts.kept, prompts.skipped) == ([0, 1], [])
    assert prompts.end_marker == "\n\nProblem:"


def test_chat_prompts():
    tokenizer = character_tokenizer()
    with pytest.raises(InputError, match="no chat template"):
        build_prompts(tokenizer, PROBLEMS, chat=True)
    tokenizer = type(tokenizer)(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<end>")
    tokenizer.chat_template = TEMPLATE
    prompts = build_prompts(tokenizer, PROBLEMS, exemplars=[EXEMPLAR], instruction="say it.")
    text = "<u>say it.\n\n2+2=?#<a>it is 4.#<u>say it.\n\n1+1=?#<a>"
    assert tokenizer.decode(prompts.ids[0]) == text
    assert prompts.end_marker is None
    plain = build_prompts(tokenizer, PROBLEMS, chat=False)
    assert tokenizer.decode(plain.ids[0]).endswith("Solution:")


def test_problems_that_are_too_long():
    tokenizer = character_tokenizer()
    lengths = [len(ids) for ids in build_prompts(tokenizer, PROBLEMS).ids]
    limit = lengths[0] + 5
    with pytest.raises(InputError, match=r"problem 1 \('what is 10-3\?'...\) makes a prompt of"):
        build_prompts(tokenizer, PROBLEMS, context_length=limit, longest=5)
    prompts = build_prompts(tokenizer, PROBLEMS, context_length=limit, longest=5, overflow="skip")
    assert (prompts.kept, prompts.skipped) == ([0], [1])


def test_cutting_where_the_next_problem_begins():
    tokenizer = character_tokenizer()
    tokens = tokenizer("it is 4.\n\nProblem: 1+").input_ids
    assert cut_tokens(tokenizer, tokens, "\n\nProblem:") == len("it is 4.")
    assert cut_tokens(tokenizer, tokens, None) == len(tokens)
    assert cut_tokens(tokenizer, tokens[:9], "\n\nProblem:") == 9


def test_exemplars_need_solutions():
    with pytest.raises(InputError, match="expected a solution"):
        build_prompts(character_tokenizer(), PROBLEMS, exemplars=PROBLEMS)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("ab\nc", "0001"),
        ("a\n\nb", "0001"),
        ("\n\na\n b\n", "0000111"),
        ("a \n \nb", "000001"),
        ("\n\n", "00"),
        ("", ""),
    ],
)
def test_steps_of_characters(text, steps):
    segment = TextSteps(character_tokenizer())
    ids = character_tokenizer()(text).input_ids
    assert segment.of(ids) == [int(step) for step in steps]
    end = character_tokenizer().eos_token_id
    last = int(steps[-1]) if steps else 0
    assert segment.of([*ids, end]) == [*map(int, steps), last]
    assert max(segment.of(ids), default=-1) < max(len(segment.texts(ids)), 1)


def test_padding_and_shapes():
    segment = TextSteps(character_tokenizer())
    tokens = torch.tensor([character_tokenizer()("a\nb1").input_ids, [5, 5, 5, 5]])
    mask = torch.tensor([[True, True, True, False], [False] * 4])
    assert segment(tokens, mask).tolist() == [[0, 0, 1, -1], [-1] * 4]
    with pytest.raises(InputError, match="mask"):
        segment(tokens, mask[:1])


def test_tokens_that_hold_the_separator_and_more():
    tokenizer = merging_tokenizer(".\n", "\n\nb", " c")
    segment = TextSteps(tokenizer)
    ids = tokenizer("a.\n c\n\nb1").input_ids
    pieces = tokenizer.convert_ids_to_tokens(ids)
    assert pieces == ["a", ".\n", " c", "\n\nb", "1"]
    assert segment.of(ids) == [0, 0, 1, 1, 2]
    assert segment.texts(ids) == ["a.", "c", "b1"]
    unusual = tokenizer.convert_tokens_to_ids(["a", ".", "\n", " ", "c", "\n\nb", "1"])
    assert segment.of(unusual) == [0, 0, 0, 1, 1, 1, 2]


def test_separators_that_a_tokenizer_cannot_express():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1, "b": 2}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")
    with pytest.raises(InputError, match=r"cannot express '\\n'"):
        TextSteps(tokenizer)
    with pytest.raises(InputError, match="expected some text"):
        TextSteps(character_tokenizer(), "")
