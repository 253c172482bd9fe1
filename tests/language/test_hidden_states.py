"""Hidden states at chosen places are those of each sequence alone."""

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.hidden_states import hidden_states_at
from gradatim.language.transformers_lm import TransformersLM
from gradatim.networks.decoder import SmallDecoder
from tests.language.tiny_models import tiny_model

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

SEQUENCES = [[5, 6, 7, 8, 9], [3], [4, 5, 6], []]
PLACES = [[4, 0], [], [1, 2], []]


@pytest.mark.parametrize("batch_tokens", [1, 6, 1000])
def test_states(batch_tokens):
    model = TransformersLM(tiny_model())
    states = hidden_states_at(model, SEQUENCES, PLACES, batch_tokens=batch_tokens)
    expected = []
    for sequence, places in zip(SEQUENCES, PLACES, strict=True):
        if places:
            ids = torch.tensor([sequence])
            expected.append(model(ids, torch.ones_like(ids) > 0)[0, places].detach().numpy())
    assert states.dtype == np.float16
    np.testing.assert_allclose(states, np.concatenate(expected), atol=2e-3)


def several_prompts():
    """Three prompts behind the same examples, with five answers each; all states of answers."""
    generator = np.random.default_rng(0)
    examples = generator.integers(2, 64, 20).tolist()
    sequences, places = [], []
    for _ in range(3):
        prompt = examples + generator.integers(2, 64, 6).tolist()
        for length in (9, 1, 4, 4, 7):
            answer = generator.integers(2, 64, length).tolist()
            sequences.append(prompt + answer)
            places.append(list(range(len(prompt), len(prompt) + length)))
    return sequences, places


@pytest.mark.parametrize("kind", ["Llama", "Gemma2", "GPT-2"])
@pytest.mark.parametrize("batch_tokens", [1, 150, 10_000])
def test_what_is_shared_is_read_once_and_changes_nothing(kind, batch_tokens, monkeypatch):
    monkeypatch.setattr("gradatim.language.transformers_lm._WORTH_SHARING", 10)
    model = TransformersLM(tiny_model(kind))
    sequences, places = several_prompts()
    read = []
    whole = type(model.body).forward

    def counting(self, *arguments, input_ids, **options):
        read.append(input_ids.numel())
        return whole(self, *arguments, input_ids=input_ids, **options)

    monkeypatch.setattr(type(model.body), "forward", counting)
    states = hidden_states_at(model, sequences, places, batch_tokens=batch_tokens)
    together = sum(read)
    read.clear()
    expected = [
        hidden_states_at(model, [sequence], [wanted])
        for sequence, wanted in zip(sequences, places, strict=True)
    ]
    np.testing.assert_allclose(states, np.concatenate(expected), atol=2e-3)
    assert sum(read) == sum(map(len, sequences))
    if batch_tokens == 10_000 and kind != "Gemma2":  # whose sliding windows are read in full
        assert together < 0.6 * sum(read)


def test_a_wanted_place_in_what_is_shared():
    model = SmallDecoder(64, hidden_size=8, layers=1, heads=2)
    sequences, places = several_prompts()
    places[3] = [2, *places[3]]
    states = hidden_states_at(model, sequences, places)
    alone = hidden_states_at(model, sequences[3:4], places[3:4])
    start = sum(map(len, places[:3]))
    np.testing.assert_allclose(states[start : start + 5], alone, atol=2e-3)


def test_places_outside():
    model = TransformersLM(tiny_model())
    with pytest.raises(InputError, match="from 0 to 0 in row 0"):
        hidden_states_at(model, [[3]], [[1]])
    with pytest.raises(InputError, match="equal lengths"):
        hidden_states_at(model, [[3]], [])
    assert hidden_states_at(model, [[3]], [[]]).shape == (0, 32)
