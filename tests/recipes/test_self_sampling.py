"""Self-sampling: its loss by hand, what it samples and keeps, precision, resume, real models."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from gradatim.core.errors import InputError
from gradatim.evaluators.program_tracer import ProgramTracer
from gradatim.language.characters import CharacterTokenizer
from gradatim.language.response_examples import ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.language.text_steps import TextSteps
from gradatim.language.transformers_lm import TransformersLM
from gradatim.mining.program_steps import ProgramSteps, split_at
from gradatim.mining.self_sampled_solutions import SelfSampledSolutions, Solution
from gradatim.networks.decoder import SmallDecoder
from gradatim.recipes.policy_improvement import Sampling
from gradatim.recipes.self_sampling import SelfSampling
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.training.fit import fit

TOKENIZER = CharacterTokenizer("0123456789+=;rab?#")
END = TOKENIZER.encode("#")[0]
PAIRS = [(1, 2), (2, 3), (4, 1), (3, 3), (2, 5), (1, 6)]
PROMPTS = [TOKENIZER.encode(f"{a}{b}?") for a, b in PAIRS]
REFERENCES = [TOKENIZER.encode(f"a={a}+{b};r=a;") for a, b in PAIRS]
OTHERS = [TOKENIZER.encode(f"a={b}+{a};r=a;") for a, b in PAIRS]
SAMPLING = Sampling(copies=2, longest=14, stop=[END], temperature=0.8)


def buffer(**options):
    split = split_at(TOKENIZER.encode(";"))
    answers = [a + b for a, b in PAIRS]
    trace = ProgramSteps(TOKENIZER.decode, split, answers, separator=";", answer="r")
    return SelfSampledSolutions(REFERENCES, trace, **options)


def decoder(seed=0, **options):
    torch.manual_seed(seed)
    return SmallDecoder(len(TOKENIZER), **{"hidden_size": 16, "layers": 1, "window": 6, **options})


def adam(model, lr=0.01):
    return torch.optim.Adam(model.parameters(), lr)


def state(seed=0):
    return SimpleNamespace(generator=torch.Generator().manual_seed(seed), unwrap=lambda: MODEL)


MODEL = decoder()


def prepared(**options):
    """A model that has seen solutions of two kinds, of which the references are one."""
    model = decoder(**options)
    texts = as_responses([[*one, END] for one in REFERENCES + OTHERS])
    options = {"optimizer": adam(model, 0.02), "steps": 80, "batch_size": 12}
    fit(model, ResponseExamples(PROMPTS * 2, texts), SupervisedTuning().step, **options)
    return model


def loss_by_hand(model, prompt, tokens):
    """Minus the log-likelihood of tokens behind a prompt."""
    ids = torch.tensor([[*prompt, *tokens]])
    logits = model.logits(model(ids, torch.ones_like(ids) > 0))[0, len(prompt) - 1 : -1]
    return functional.cross_entropy(logits, torch.tensor(tokens), reduction="sum")


SOLUTIONS = [
    [Solution((5, 6), True), Solution((7, 8, 9), False), Solution((3,), True)],
    [],
    [Solution((4, 4), False)],
]


@pytest.mark.parametrize("mode", ["mle-aug", "mml", "beta-mml", "mixed"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("by_length", [False, True])
def test_the_loss_is_that_of_all_solutions_and_only_complete_ones_end(mode, normalize, by_length):
    beta = 1.0 if mode in ("mle-aug", "mml") else 0.25
    weights = {"mle_weight": 0.5, "mml_weight": 2.0} if mode == "mixed" else {}
    recipe = SelfSampling(
        PROMPTS, buffer(), sampling=SAMPLING, mode=mode, beta=beta, normalize=normalize,
        by_length=by_length, **weights,
    )  # fmt: skip
    found = recipe.loss(MODEL, [2, 0, 5], SOLUTIONS)
    expected = 0.0
    for problem, some in zip([2, 0, 5], SOLUTIONS, strict=True):
        if not some:
            continue
        texts = [[*one.tokens, END] if one.complete else list(one.tokens) for one in some]
        nll = torch.stack([loss_by_hand(MODEL, PROMPTS[problem], text) for text in texts])
        if by_length:
            lengths = torch.tensor(list(map(len, texts)))
            nll = nll * lengths.max() / lengths
        total = nll.mean() if normalize else nll.sum()
        marginal = -torch.logsumexp(-beta * nll, 0) / beta
        if mode != "mle-aug":
            total = 2.0 * marginal + 0.5 * total if mode == "mixed" else marginal
        expected = expected + total
    torch.testing.assert_close(found, expected)


def test_with_references_alone_an_update_is_one_of_supervised_tuning_a_problem():
    recipe = SelfSampling(PROMPTS, buffer(), sampling=SAMPLING)
    chosen = [recipe.solutions.solutions(problem) for problem in range(6)]
    examples = ResponseExamples(PROMPTS, as_responses([[*one, END] for one in REFERENCES]))
    expected = SupervisedTuning().step(MODEL, examples[range(6)], None)
    torch.testing.assert_close(recipe.loss(MODEL, range(6), chosen), expected.sum)


def test_an_update_samples_its_problems_keeps_what_is_right_and_counts_problems():
    recipe = SelfSampling(PROMPTS, buffer(), sampling=SAMPLING)
    seen = []

    def sample(problems, beginnings):
        seen.append((list(problems), beginnings))
        texts = [[f"b={PAIRS[p][0]}+{PAIRS[p][1]};r=b;", "r=9;"] for p in problems]
        return [[TOKENIZER.encode(text) for text in some] for some in texts]

    recipe._extend = lambda model, seed, problems, beginnings: sample(problems, beginnings)
    loss = recipe.step(MODEL, {"problem": torch.tensor([1, 4])}, state())
    assert seen == [([1, 4], [(), ()])]
    assert loss.count == 2 and loss.sum.requires_grad
    assert loss.logs["known complete"] == 2.0 and loss.logs["known partial"] == 0.0
    # The answer of neither is 9; the other program is found, if under another name.
    assert loss.logs["samples complete"] == 0.5 and loss.logs["samples nothing"] == 0.5
    assert recipe.solutions.sizes(0) == (1, 0)


def test_problems_without_a_solution_move_nothing():
    empty = SelfSampledSolutions([None] * 6, buffer().trace)
    recipe = SelfSampling(PROMPTS, empty, sampling=SAMPLING)
    model = decoder()
    before = copy.deepcopy(model.state_dict())
    recipe._extend = lambda model, seed, problems, beginnings: [[] for _ in problems]
    fit(model, recipe.examples, recipe.step, optimizer=adam(model), steps=2, batch_size=3)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("each", ["update", "epoch"])
def test_a_model_finds_other_solutions_than_its_references(each):
    model = prepared()
    recipe = SelfSampling(PROMPTS, buffer(length_tolerance=2), sampling=SAMPLING, each=each)
    result = fit(
        model, recipe.examples, recipe.step, epochs=10, batch_size=3, optimizer=adam(model, 0.005),
        callbacks=recipe.callbacks, stateful=recipe.stateful,
    )  # fmt: skip
    sizes = [recipe.solutions.sizes(problem) for problem in range(6)]
    assert sum(complete for complete, _ in sizes) > 6
    assert result.history[-1]["known complete"] > 1.0
    for problem, (a, b) in enumerate(PAIRS):
        for one in recipe.solutions.solutions(problem):
            text = TOKENIZER.decode(one.tokens)
            states = ProgramTracer()([line for line in text.split(";") if line])
            assert states is not None and ("r" in states[-1]) == one.complete
            assert not one.complete or states[-1]["r"] == a + b
    assert model.training


def test_samples_go_on_behind_beginnings_and_stay_within_the_context():
    recipe = SelfSampling(PROMPTS, buffer(), sampling=SAMPLING)
    model = decoder(decoding_dtype=torch.float32)
    begun = [tuple(TOKENIZER.encode("a=1+2;")), ()]
    found = recipe._extend(model, 0, [0, 1], begun)
    assert [len(some) for some in found] == [2, 2]
    assert all(tuple(one[:6]) == begun[0] for one in found[0])
    assert all(END not in one and len(one) <= 6 + 14 for some in found for one in some)
    model.context_length = 3 + 6 + 14 - 1  # no room for the beginning
    assert all(tuple(one[:6]) != begun[0] for one in recipe._extend(model, 0, [0, 1], begun)[0])
    assert recipe._extend(model, 1, [0, 1], begun) != recipe._extend(model, 2, [0, 1], begun)
    assert recipe._extend(model, 1, [0, 1], begun) == recipe._extend(model, 1, [0, 1], begun)


def test_sampling_inside_autocast_does_not_take_the_gradients_away():
    """Weights cast without gradients while sampling must not be found again by the loss."""
    from tests.language.tiny_models import tiny_model

    model = TransformersLM(tiny_model("GPT-2"))
    prompts = [[3, 4], [5]]
    trace = lambda problem, tokens: []  # noqa: E731
    empty = SelfSampledSolutions([None, None], trace)
    recipe = SelfSampling(prompts, empty, sampling=Sampling(1, longest=3, stop=[1]))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        recipe.sample(model, [0, 1], torch.Generator())
        recipe.loss(model, [0], [[Solution((7, 8), True)]]).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []


def test_sampling_is_done_in_evaluation_mode_and_modes_are_put_back():
    model = decoder()
    model.norm.eval()
    recipe = SelfSampling(PROMPTS, buffer(), sampling=SAMPLING)
    seen = []
    model.begin = lambda *a: seen.append(model.training) or SmallDecoder.begin(model, *a)
    recipe.sample(model, [0], torch.Generator())
    assert seen == [False]
    assert model.training and not model.norm.training


@pytest.mark.parametrize("each", ["update", "epoch"])
def test_a_killed_run_ends_with_the_same_bits(each, tmp_path):
    def run(folder, stop_at=None):
        model = prepared()
        recipe = SelfSampling(
            PROMPTS, buffer(length_tolerance=2), sampling=SAMPLING, each=each, mode="beta-mml",
            beta=0.25,
        )  # fmt: skip
        calls = []

        def step(model, batch, state):
            calls.append(state.step)
            if state.step == stop_at:
                raise KeyboardInterrupt
            return recipe.step(model, batch, state)

        fit(
            model, recipe.examples, step, optimizer=adam(model), steps=12, batch_size=2,
            callbacks=recipe.callbacks, stateful=recipe.stateful, checkpoint=folder,
            checkpoint_every=2, seed=1,
        )  # fmt: skip
        return model.state_dict(), recipe.solutions.state_dict()["rows"], calls

    weights, rows, _ = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", stop_at=7)
    again, rows_again, calls = run(tmp_path / "killed")
    assert calls[0] == 6
    assert torch.equal(rows, rows_again) and len(rows) > sum(map(len, REFERENCES)) + 18
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_a_model_of_transformers_with_its_tokenizer_and_a_tracer():
    from tests.language.tiny_models import character_tokenizer, tiny_model

    tokenizer = character_tokenizer()
    encode = lambda text: tokenizer(text, add_special_tokens=False)["input_ids"]  # noqa: E731
    prompts = [encode(f"{a}, {b}?") for a, b in PAIRS]
    references = [encode(f"x = {a} + {b}\nanswer = x\n") for a, b in PAIRS]
    decode = lambda tokens: tokenizer.decode(tokens, skip_special_tokens=True)  # noqa: E731
    trace = ProgramSteps(decode, TextSteps(tokenizer).of, [a + b for a, b in PAIRS])
    solutions = SelfSampledSolutions(references, trace, length_tolerance=1)
    assert solutions.add(0, encode("answer = 2 + 1")) == "complete"
    assert solutions.add(0, encode("x = 2 + 1\ny = 7\nx")) == "partial"
    assert solutions.add(0, encode("x = 1+2\nanswer = x")) == "known"
    model = TransformersLM(tiny_model("Llama"))
    end = tokenizer.eos_token_id
    recipe = SelfSampling(prompts, solutions, sampling=Sampling(2, longest=12, stop=[end]))
    result = fit(
        model, recipe.examples, recipe.step, optimizer=adam(model), epochs=8, batch_size=6,
        stateful=recipe.stateful, progress_bar=False,
    )  # fmt: skip
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampling": Sampling(1, stop=[])}, "sampling: expected one stop token, got 0"),
        ({"sampling": Sampling(1, stop=[1, 2])}, "sampling: expected one stop token, got 2"),
        ({"each": "batch"}, "each: expected one of update, epoch, got 'batch'"),
        ({"mode": "all"}, "mode: expected one of mle-aug"),
        ({"beta": 0.5}, "beta: expected 1 for mode 'mle-aug'"),
        ({"chunk_tokens": 0}, "chunk_tokens: expected a number in"),
        ({"prompts": PROMPTS[:2]}, "prompts has 2, solutions has 6"),
    ],
)
def test_bad_input(options, message):
    given = {"prompts": PROMPTS, "solutions": buffer(), "sampling": SAMPLING, **options}
    with pytest.raises(InputError, match=message):
        SelfSampling(**given)
