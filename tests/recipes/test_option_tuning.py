"""Tuning on options: the loss by hand, and a model that learns which option is right."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.language.adapters import lora
from gradatim.language.option_likelihood import option_log_likelihoods
from gradatim.language.transformers_lm import TransformersLM
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.option_tuning import OptionExamples, OptionTuning, tune_on_options
from tests.language.tiny_models import tiny_model

PROMPTS = [[1, 2, 3], [4], [5, 6]]
OPTIONS = [[[7], [8, 9]], [[7, 8, 9], [9], [8]], [[7], [9]]]
ANSWERS = [1, 2, 0]


def decoder(seed=0, **options):
    torch.manual_seed(seed)
    return SmallDecoder(12, **{"hidden_size": 16, "layers": 1, "heads": 2, **options})


@pytest.mark.parametrize("normalize", ["sum", "mean"])
def test_the_loss_is_that_of_a_softmax_over_options(normalize):
    model = decoder()
    batch = OptionExamples(PROMPTS, OPTIONS, ANSWERS)[[0, 1, 2]]
    loss = OptionTuning(normalize=normalize).step(model, batch, None)
    scores = option_log_likelihoods(model, PROMPTS, OPTIONS, normalize=normalize)
    expected = functional.cross_entropy(scores, torch.tensor(ANSWERS), reduction="sum")
    torch.testing.assert_close(loss.sum.detach(), expected)
    assert loss.count == 3
    hits = (scores.argmax(1) == torch.tensor(ANSWERS)).float().mean()
    assert float(loss.logs["accuracy"]) == pytest.approx(float(hits))
    loss.sum.backward()
    assert all(torch.isfinite(w.grad).all() for w in model.parameters() if w.grad is not None)


def test_the_likelihood_of_the_right_option_alone():
    model = decoder()
    batch = OptionExamples(PROMPTS, OPTIONS, ANSWERS)[[2, 0]]
    loss = OptionTuning(objective="likelihood").step(model, batch, None)
    scores = option_log_likelihoods(model, PROMPTS, OPTIONS)
    torch.testing.assert_close(loss.sum.detach(), -(scores[2, 0] + scores[0, 1]))
    assert loss.count == 2


def matching(count=60, seed=0):
    """The right option repeats the prompt's last token."""
    random = np.random.default_rng(seed)
    prompts, options, answers = [], [], []
    for _ in range(count):
        own = random.choice(np.arange(2, 12), 3, replace=False).tolist()
        answer = int(random.integers(3))
        prompts.append([*random.integers(2, 12, random.integers(1, 4)).tolist(), own[answer]])
        options.append([[token] for token in own])
        answers.append(answer)
    return prompts, options, answers


def accuracy(model, prompts, options, answers):
    guess = option_log_likelihoods(model, prompts, options).argmax(1)
    return float((guess == torch.tensor(answers)).float().mean())


@pytest.mark.parametrize("objective", ["options", "likelihood"])
def test_a_model_learns_which_option_is_right(objective):
    model, questions = decoder(), matching()
    assert accuracy(model, *questions) < 0.7
    result = tune_on_options(
        model, *questions, objective=objective, lr=0.02, epochs=12, update_size=10, batch_size=5
    )
    assert result.step == 72 and not model.training
    assert accuracy(model, *questions) > 0.9 and accuracy(model, *matching(seed=1)) > 0.8


def test_the_number_of_updates():
    questions = matching(16)
    few = tune_on_options(decoder(), *questions, epochs=1)
    assert few.step == 10  # 16 questions are one update an epoch
    many = tune_on_options(decoder(), *questions, epochs=4, update_size=5, batch_size=2)
    assert many.step == 16  # updates of 4
    one = tune_on_options(decoder(), *[part[:1] for part in questions], least_updates=1, epochs=2)
    assert one.step == 2


def test_adapters_learn_and_the_seed_decides():
    pytest.importorskip("peft", reason="needs peft: pip install 'gradatim[llm]'")
    model, questions = TransformersLM(tiny_model()), matching(40)
    found = []
    for seed in (0, 0, 1):
        with lora(model, rank=4, targets="all-linear", seed=seed) as tuned:
            tune_on_options(tuned, *questions, lr=0.02, least_updates=25, batch_size=20, seed=seed)
            found.append(option_log_likelihoods(tuned, *questions[:2]))
            scored = accuracy(tuned, *questions)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert scored > accuracy(model, *questions) + 0.2


def test_padding_changes_nothing():
    model = decoder().double()
    both = OptionExamples([[1], [2] * 20], [[[3], [4]], [[5] * 6, [6], [7]]], [0, 1])
    recipe = OptionTuning()
    together = recipe.step(model, both[[0, 1]], None).sum
    apart = sum(recipe.step(model, both[[row]], None).sum for row in (0, 1))
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize(
    ("prompts", "options", "answers", "given", "told"),
    [
        ([[1]], [[[2], [3]]], [2], {}, "answers: expected the number of an option, got 2 in"),
        ([[1]], [[[2], [3]]], [0, 1], {}, "expected equal lengths"),
        ([[]], [[[2], [3]]], [0], {}, "expected tokens in every prompt and option"),
        ([[1]], [[[2], []]], [0], {}, r"options of \[1, 0\] in question 0"),
        ([[1]], [[[2]]], [0], {"objective": "cloze"}, "objective: expected one of options"),
        ([[1]], [[[2]]], [0], {"normalize": "unconditional"}, "normalize: expected one of sum"),
        ([[1]], [[[2]]], [0], {"epochs": 0}, "epochs"),
        ([[1]], [[[2]]], [0], {"lr": -1.0}, "lr"),
    ],
)
def test_bad_input(prompts, options, answers, given, told):
    with pytest.raises(InputError, match=told):
        tune_on_options(decoder(), prompts, options, answers, **given)


def test_a_model_without_weights_to_train():
    with pytest.raises(InputError, match="expected weights that can be trained"):
        tune_on_options(decoder().requires_grad_(False), PROMPTS, OPTIONS, ANSWERS)
