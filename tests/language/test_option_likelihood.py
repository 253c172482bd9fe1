"""Log-likelihoods of options are those of reading every prompt with every option in full."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradatim.core.errors import InputError
from gradatim.language import option_likelihood
from gradatim.language.option_likelihood import option_log_likelihoods
from gradatim.language.transformers_lm import TransformersLM
from gradatim.networks.decoder import SmallDecoder
from tests.language.tiny_models import tiny_model

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")


def questions(beginning=0, seed=0, count=9):
    """Prompts that begin alike, and one to four options of one to six tokens each."""
    random = np.random.default_rng(seed)

    def some(n):
        return random.integers(2, 64, n).tolist()

    shared = some(beginning)
    prompts = [shared + some(random.integers(1, 30)) for _ in range(count)]
    options = [[some(random.integers(1, 7)) for _ in range(random.integers(1, 5))] for _ in prompts]
    return prompts, options


def alone(model, prompts, options):
    """Each option by itself: softmax of the logits of its own whole sequence."""
    found = torch.full((len(prompts), max(map(len, options))), -torch.inf).double()
    for row, (prompt, own) in enumerate(zip(prompts, options, strict=True)):
        for column, option in enumerate(own):
            ids = torch.tensor([[*prompt, *option]])
            with torch.no_grad():
                p = model.logits(model(ids, torch.ones_like(ids) > 0))[0].double().log_softmax(1)
            places = range(len(prompt), ids.shape[1])
            found[row, column] = sum(p[place - 1, ids[0, place]] for place in places)
    return found


def close(found, expected):
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["Llama", "Gemma2", "GPT-2"])
@pytest.mark.parametrize("beginning", [0, 150])
@pytest.mark.parametrize("batch_tokens", [1, 700, 100_000])
def test_sums(kind, beginning, batch_tokens):
    length = "n_positions" if kind == "GPT-2" else "max_position_embeddings"
    model = TransformersLM(tiny_model(kind, **{length: 256}))
    prompts, options = questions(beginning)
    found = option_log_likelihoods(model, prompts, options, batch_tokens=batch_tokens)
    close(found, alone(model, prompts, options))
    assert found.device.type == "cpu" and not found.requires_grad


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 80), st.integers(1, 400))
def test_any_questions_in_any_batches(seed, beginning, batch_tokens):
    torch.manual_seed(0)
    model = SmallDecoder(64, hidden_size=8, layers=1, heads=2).double()
    prompts, options = questions(beginning, seed, count=5)
    found = option_log_likelihoods(
        model, prompts, options, batch_tokens=batch_tokens, chunk_tokens=1 + seed % 9
    )
    assert found.dtype == torch.float64
    close(found, alone(model, prompts, options))


def counted(model, prompts, options, monkeypatch):
    """How many tokens the model reads."""
    read = []
    whole = type(model.body).forward

    def counting(self, *arguments, input_ids, **given):
        read.append(input_ids.numel())
        return whole(self, *arguments, input_ids=input_ids, **given)

    monkeypatch.setattr(type(model.body), "forward", counting)
    option_log_likelihoods(model, prompts, options, batch_tokens=10_000)
    return sum(read)


def test_what_is_shared_is_read_once(monkeypatch):
    model = TransformersLM(tiny_model(max_position_embeddings=512))
    random = np.random.default_rng(0)

    def some(n):
        return random.integers(2, 64, n).tolist()

    options = [[some(3) for _ in range(4)] for _ in range(6)]
    long = [some(200) for _ in options]
    assert counted(model, long, options, monkeypatch) == 6 * (199 + 4 * (1 + 3))
    examples = some(400)
    behind = [examples + some(10) for _ in options]
    assert counted(model, behind, options, monkeypatch) == 400 + 24 * (10 + 3)


def test_little_padding_where_nothing_is_shared():
    prompts = [[2] * length for length in (60, 2, 59, 3)]
    for place, prompt in enumerate(prompts):
        prompt[0] = 3 + place
    batches = option_likelihood._batches(prompts, [[[1], [1]]] * 4, 200)
    assert sorted(sorted(one.questions) for one in batches) == [[0], [1, 3], [2]]


def test_per_token_and_unconditional():
    model = TransformersLM(tiny_model(max_position_embeddings=128))
    prompts, options = questions()
    sums = alone(model, prompts, options)
    mean = option_log_likelihoods(model, prompts, options, normalize="mean")
    lengths = torch.ones_like(sums)
    for row, own in enumerate(options):
        lengths[row, : len(own)] = torch.tensor([len(one) for one in own])
    close(mean, sums / lengths)
    options[3] = [*options[0], options[0][0]]  # the same option twice, and in two questions
    sums, bare = alone(model, prompts, options), alone(model, [[7, 8]] * len(prompts), options)
    found = option_log_likelihoods(
        model, prompts, options, normalize="unconditional", unconditional=[7, 8]
    )
    expected = torch.where(sums.isfinite(), sums - bare, -torch.inf)
    close(found, expected)
    same = option_log_likelihoods(
        model, [[7, 8]] * 9, options, normalize="unconditional", unconditional=[7, 8]
    )
    assert (same[same.isfinite()].abs() < 1e-5).all()


def test_nothing_to_score():
    model = SmallDecoder(64, hidden_size=8, layers=1, heads=2)
    assert option_log_likelihoods(model, [], []).shape == (0, 0)
    one = option_log_likelihoods(model, [[3]], [[[4]]])
    assert one.softmax(1).tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("prompts", "options", "given", "told"),
    [
        ([[1]], [], {}, "expected equal lengths"),
        ([[1], []], [[[1]], [[1]]], {}, "prompts: expected at least one token, got none in prompt"),
        ([[1]], [[]], {}, "options: expected options of question 0, got none"),
        ([[1]], [[[1], []]], {}, "question 0, got an option without tokens"),
        ([[1] * 60], [[[1], [1] * 5]], {}, "prompt 0 with its longest option has 65 tokens"),
        ([[1]], [[[1]]], {"normalize": "max"}, "normalize: expected one of sum, mean"),
        ([[1]], [[[1]]], {"normalize": "unconditional"}, "unconditional: expected a prompt"),
        ([[1]], [[[1]]], {"unconditional": [1]}, "got one with normalize='sum'"),
        ([[1]], [[[1]]], {"batch_tokens": 0}, "batch_tokens"),
        ([[1]], [[[1]]], {"normalize": "unconditional", "unconditional": []}, "got none in prompt"),
    ],
)
def test_bad_input(prompts, options, given, told):
    model = TransformersLM(tiny_model())
    with pytest.raises(InputError, match=told):
        option_log_likelihoods(model, prompts, options, **given)
