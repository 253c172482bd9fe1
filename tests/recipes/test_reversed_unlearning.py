"""Forgetting by an assistant that remembers."""

from typing import Any

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import as_responses, sample
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.reversed_unlearning import ReversedStep, ReversedUnlearner
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.training.fit import fit

FORGET = ResponseExamples([[1, 2], [1, 3]], as_responses([[4, 5], [6, 7]]))
RETAIN = ResponseExamples([[2, 2], [2, 3], [3, 3]], as_responses([[5, 5], [7, 6], [4, 4]]))
EVERYTHING = ResponseExamples(
    [[1, 2], [1, 3], [2, 2], [2, 3], [3, 3]],
    as_responses([[4, 5], [6, 7], [5, 5], [7, 6], [4, 4]]),
)
STATE: Any = None  # the losses do not look at it


@pytest.fixture(scope="module")
def taught():
    torch.manual_seed(0)
    model = SmallDecoder(10, hidden_size=32, layers=2, decoding_dtype=torch.float32)
    adam = torch.optim.Adam(model.parameters(), 0.01)
    fit(model, EVERYTHING, SupervisedTuning().step, optimizer=adam, epochs=60, progress_bar=False)
    return model.eval()


def answers(model, prompts):
    return sample(model, prompts, longest=2, temperature=0.0).lists()


def test_it_forgets_and_keeps_and_leaves_the_model_alone(taught):
    before = {name: value.clone() for name, value in taught.state_dict().items()}
    unlearner = ReversedUnlearner(layers=1, lr=0.01, epochs=100, weight=-2.0, retain_weight=1.0)
    outcome, both = unlearner.fit(taught, FORGET, RETAIN)
    first, last = outcome.curve[0], outcome.curve[-1]
    assert first["forget_probability"] > 0.9 and last["forget_probability"] < 0.3
    assert last["retain_loss"] < first["retain_loss"] + 0.2
    assert answers(both, [[2, 2], [2, 3], [3, 3]]) == [[5, 5], [7, 6], [4, 4]]
    assert answers(taught, [[1, 2], [1, 3]]) == [[4, 5], [6, 7]]
    assert all(torch.equal(value, before[name]) for name, value in taught.state_dict().items())


def test_the_loss_is_its_two_terms():
    model = SmallDecoder(10, hidden_size=8, layers=1).double()
    batch = {
        f"{kind}_{name}": value
        for kind, examples in (("forget", FORGET), ("retain", RETAIN))
        for name, value in examples[[0, 1]].items()
    }
    loss = ReversedStep(retain_weight=3.0).step(model, batch, STATE)
    logits = model.logits(model(batch["forget_ids"], batch["forget_mask"]))[:, :-1]
    logp = logits.log_softmax(-1).gather(2, batch["forget_ids"][:, 1:, None])[..., 0]
    remembered = -logp[batch["forget_response"][:, 1:]].mean()
    logits = model.logits(model(batch["retain_ids"], batch["retain_mask"]))[:, :-1]
    uniform = torch.full_like(logits, 0.1)
    ignorance = (uniform * (uniform.log() - logits.log_softmax(-1))).sum(-1)
    wanted = remembered + 3.0 * ignorance[batch["retain_mask"][:, 1:]].mean()
    torch.testing.assert_close(loss.sum / loss.count, wanted)


def test_a_killed_run_goes_on(taught, tmp_path):
    """A folder with the checkpoints of a run's first half leads to the same end."""
    whole = ReversedUnlearner(layers=1, lr=0.01, epochs=6)
    _, expected = whole.fit(taught, FORGET, RETAIN)

    class KilledError(RuntimeError):
        pass

    def die(_, state):
        if state.step == 3:
            raise KilledError
        return {}

    with pytest.raises(KilledError):
        whole.fit(taught, FORGET, RETAIN, evaluate=die, checkpoint=tmp_path, checkpoint_every=1)
    outcome, found = whole.fit(taught, FORGET, RETAIN, checkpoint=tmp_path, checkpoint_every=1)
    assert outcome.steps == 6
    pairs = zip(found.assistant.parameters(), expected.assistant.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_adapters_on_a_model_of_transformers():
    pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")
    from gradatim.language.transformers_lm import TransformersLM
    from tests.language.tiny_models import tiny_model

    model = TransformersLM(tiny_model())
    unlearner = ReversedUnlearner(layers=1, rank=2, epochs=2, lr=0.01)
    outcome, both = unlearner.fit(model, FORGET, RETAIN)
    assert outcome.steps == 2 and len(outcome.curve) == 3
    trained = [name for name, weight in both.assistant.named_parameters() if weight.requires_grad]
    assert trained and all("lora_" in name for name in trained)


def test_bad_numbers_are_told():
    for name, value in (("layers", 0), ("relative_top", 2.0), ("retain_weight", -1.0)):
        with pytest.raises(InputError, match=name):
            ReversedUnlearner(**{name: value})
