"""Hidden states at chosen places are those of each sequence alone."""

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.hidden_states import hidden_states_at
from gradatim.language.transformers_lm import TransformersLM
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


def test_places_outside():
    model = TransformersLM(tiny_model())
    with pytest.raises(InputError, match="from 0 to 0 in row 0"):
        hidden_states_at(model, [[3]], [[1]])
    with pytest.raises(InputError, match="equal lengths"):
        hidden_states_at(model, [[3]], [])
    assert hidden_states_at(model, [[3]], [[]]).shape == (0, 32)
