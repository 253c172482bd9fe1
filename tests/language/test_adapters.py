"""Adapters come with the block and go with it."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.adapters import lora
from gradatim.language.transformers_lm import TransformersLM
from tests.language.tiny_models import tiny_model

pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")

IDS = torch.tensor([[3, 4, 5, 6]])


def states(model):
    with torch.no_grad():
        return model(IDS, torch.ones_like(IDS) > 0)


def spoil(model, seed=0):
    """Change every weight that can be trained."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight += torch.randn(weight.shape, generator=generator)


@pytest.mark.parametrize("kind", ["Llama", "GPT-2", "Granite"])
def test_the_base_model_is_what_it_was(kind):
    model = TransformersLM(tiny_model(kind))
    model.model.get_input_embeddings().weight.requires_grad_(False)
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    flags = {name: weight.requires_grad for name, weight in model.named_parameters()}
    before = states(model)
    with lora(model) as tuned:
        torch.testing.assert_close(states(tuned), before, rtol=0, atol=0)
        spoil(tuned)
        tuned.train()
        assert not torch.allclose(states(tuned.eval()), before, atol=1e-3)
        tuned.train()
    torch.testing.assert_close(states(model), before, rtol=0, atol=0)
    assert {name: weight.requires_grad for name, weight in model.named_parameters()} == flags
    assert model.state_dict().keys() == kept.keys()
    assert all(torch.equal(value, kept[name]) for name, value in model.state_dict().items())
    assert not any(module.training for module in model.modules())


def test_the_base_model_is_what_it_was_after_an_error():
    model = TransformersLM(tiny_model())
    before = states(model)
    with pytest.raises(RuntimeError), lora(model) as tuned:
        spoil(tuned)
        raise RuntimeError
    torch.testing.assert_close(states(model), before, rtol=0, atol=0)
    assert all(weight.requires_grad for weight in model.parameters())


def test_adapters_follow_from_the_seed_and_leave_the_global_generator_alone():
    model = TransformersLM(tiny_model())
    found = []
    for seed in (0, 0, 1):
        state = torch.get_rng_state()
        with lora(model, seed=seed) as tuned:
            found.append(
                torch.cat([w.flatten() for w in tuned.parameters() if w.requires_grad]).detach()
            )
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_which_layers():
    model = TransformersLM(tiny_model())
    sizes = {}
    for targets in (None, "all-linear", ["q_proj"]):
        with lora(model, rank=2, targets=targets) as tuned:
            names = [name for name, w in tuned.named_parameters() if w.requires_grad]
            sizes[str(targets)] = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in names}
    assert sizes["None"] == {"q_proj", "v_proj"} and sizes["['q_proj']"] == {"q_proj"}
    assert {"gate_proj", "down_proj", "k_proj"} < sizes["all-linear"]


def test_bad_input():
    model = TransformersLM(tiny_model())
    for options, told in (
        ({"rank": 0}, "rank"),
        ({"alpha": 0}, "alpha"),
        ({"dropout": 1.0}, "dropout"),
        ({"targets": ["nothing"]}, r"targets: .* cannot be adapted"),
    ):
        with pytest.raises(InputError, match=told), lora(model, **options):
            pass
    with lora(model) as tuned, pytest.raises(InputError, match="without adapters"), lora(tuned):
        pass
    with lora(model):
        pass
