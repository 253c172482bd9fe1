"""Models of transformers give the same logits and decode the same tokens through our interface."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.language.sampling import left_padded, right_padded, sample
from gradatim.language.transformers_lm import TransformersLM
from tests.language.tiny_models import SOME_KINDS, tiny_model

pytest.importorskip("transformers", reason="needs transformers: pip install 'gradatim[llm]'")

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13], [3, 4], [9, 8, 7, 6, 5]]


@pytest.mark.parametrize("kind", SOME_KINDS)
@pytest.mark.parametrize("pad", [left_padded, right_padded])
def test_logits_equal_those_of_the_model_alone(kind, pad):
    model = tiny_model(kind)
    lm = TransformersLM(model)
    ids, mask = pad(PROMPTS)
    logits = lm.logits(lm(ids, mask))
    assert torch.isfinite(logits).all()
    for row, prompt in enumerate(PROMPTS):
        expected = model(torch.tensor([prompt])).logits[0]
        torch.testing.assert_close(logits[row][mask[row]], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", SOME_KINDS)
def test_greedy_samples_equal_generate_on_each_prompt(kind):
    model = tiny_model(kind)
    stop = 20
    responses = sample(TransformersLM(model), PROMPTS, longest=16, stop=[stop], temperature=0)
    for prompt, response in zip(PROMPTS, responses.lists(), strict=True):
        ids = torch.tensor([prompt])
        expected = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=16,
            do_sample=False,
            eos_token_id=stop,
            pad_token_id=0,
        )
        assert response == expected[0, len(prompt) :].tolist()


def test_greedy_ends_at_the_stop_token_and_drops_rows():
    """The stop token is one that the model says itself, at another time for each prompt."""
    model = tiny_model("GPT-2", initializer_range=0.5)
    lm = TransformersLM(model)
    free = sample(lm, PROMPTS, longest=20, temperature=0).lists()
    places = {t: [r.index(t) if t in r else 99 for r in free] for row in free for t in row}
    stop = max(places, key=lambda token: len(set(places[token])))
    ended = sample(lm, PROMPTS, longest=20, stop=[stop], temperature=0, copies=2)
    for prompt, response in zip(ended.prompt.tolist(), ended.lists(), strict=True):
        assert response == free[prompt][: places[stop][prompt] + 1]
    assert ended.finished.any()


def test_log_probabilities_of_samples_are_those_of_a_whole_pass():
    lm = TransformersLM(tiny_model())
    responses = sample(lm, PROMPTS, copies=3, longest=10, seed=1)
    rows = [
        PROMPTS[prompt] + response
        for prompt, response in zip(responses.prompt.tolist(), responses.lists(), strict=True)
    ]
    ids, mask = right_padded(rows)
    scores = lm.logits(lm(ids, mask)).log_softmax(dim=-1)
    for row, tokens in enumerate(responses.lists()):
        start = len(rows[row]) - len(tokens)
        expected = scores[row, range(start - 1, len(rows[row]) - 1), tokens]
        torch.testing.assert_close(responses.log_probabilities[row, : len(tokens)], expected)


def test_copies_stand_side_by_side_and_rows_can_be_dropped():
    lm = TransformersLM(tiny_model())
    ids, mask = left_padded(PROMPTS)
    logits, state = lm.begin(ids, mask, 2, 4)
    assert logits.shape == (6, 64)
    torch.testing.assert_close(logits[0], logits[1])
    whole = state.advance(torch.arange(6))
    _, state = lm.begin(ids, mask, 2, 4)
    state.keep(torch.tensor([1, 4]))
    torch.testing.assert_close(state.advance(torch.tensor([1, 4])), whole[[1, 4]])


@pytest.mark.parametrize("kind", SOME_KINDS)
@pytest.mark.parametrize("copies", [1, 2])
def test_a_common_beginning_is_read_once(kind, copies, monkeypatch):
    """Sliding windows (Gemma) must not see it apart, and give the same all the same."""
    lm = TransformersLM(tiny_model(kind))
    prompts = [[7, 8, 9, 10, 11, 12, *prompt] for prompt in ([5, 6, 1], [3], [4, 4, 4, 4, 2])]
    expected = sample(lm, prompts, copies=copies, longest=10, temperature=0)
    sizes = []
    read = TransformersLM._read

    def counting(self, ids, *others):
        sizes.append(ids.shape)
        return read(self, ids, *others)

    monkeypatch.setattr(TransformersLM, "_read", counting)
    monkeypatch.setattr("gradatim.language.transformers_lm._WORTH_SHARING", 1)
    shared = sample(lm, prompts, copies=copies, longest=10, temperature=0)
    assert sizes[0] == (1, 6)
    assert sizes[1] == ((3, 11) if kind.startswith("Gemma") else (3, 5))
    assert shared.lists() == expected.lists()
    torch.testing.assert_close(shared.log_probabilities, expected.log_probabilities)


def test_equal_prompts_share_all_but_their_last_token(monkeypatch):
    lm = TransformersLM(tiny_model())
    monkeypatch.setattr("gradatim.language.transformers_lm._WORTH_SHARING", 1)
    responses = sample(lm, [[5, 6, 7], [5, 6, 7], [5, 6]], longest=6, temperature=0)
    alone = sample(lm, [[5, 6, 7]], longest=6, temperature=0).lists()
    assert responses.lists()[:2] == alone * 2
    assert responses.lists()[2:] == sample(lm, [[5, 6]], longest=6, temperature=0).lists()


def test_more_tokens_than_announced_are_refused():
    lm = TransformersLM(tiny_model())
    _, state = lm.begin(*left_padded([[1, 2]]), 1, 1)
    state.advance(torch.tensor([3]))
    with pytest.raises(InputError, match="longest"):
        state.advance(torch.tensor([3]))


def test_gradients_reach_the_model_and_modes_are_kept():
    model = tiny_model(attention_dropout=0.0).train()
    model.model.layers[0].eval()
    lm = TransformersLM(model)
    assert model.training and not model.model.layers[0].training
    ids, mask = right_padded(PROMPTS)
    lm.logits(lm(ids, mask))[mask].sum().backward()
    assert all(parameter.grad is not None for parameter in lm.parameters())


def test_peft_models_use_their_adapters():
    peft = pytest.importorskip("peft")
    base = tiny_model()
    config = peft.LoraConfig(target_modules=["q_proj", "lm_head"], init_lora_weights=False)
    wrapped = peft.get_peft_model(base, config).eval()
    lm = TransformersLM(wrapped)
    ids, mask = right_padded(PROMPTS[:1])
    adapted = lm.logits(lm(ids, mask))
    torch.testing.assert_close(adapted, wrapped(ids).logits)
    with wrapped.disable_adapter():
        assert not torch.allclose(lm.logits(lm(ids, mask)), adapted)


def test_what_is_known_of_a_model():
    lm = TransformersLM(tiny_model())
    assert (lm.hidden_size, lm.vocabulary_size, lm.context_length) == (32, 64, 64)
    assert lm.device == torch.device("cpu")


def test_other_models_are_refused():
    import transformers

    with pytest.raises(InputError, match="expected a causal language model"):
        TransformersLM(torch.nn.Linear(2, 2))
    sizes = {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    encoder = transformers.BertModel(transformers.BertConfig(**sizes, num_attention_heads=2))
    with pytest.raises(InputError, match="no output layer"):
        TransformersLM(encoder)
    t5 = transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=16, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    )
    with pytest.raises(InputError, match="encoder-decoder"):
        TransformersLM(t5)


def test_unknown_arithmetic_on_logits_is_refused():
    model = tiny_model()
    forward = type(model).forward

    class Shifted(type(model)):
        def forward(self, *args, **options):
            output = forward(self, *args, **options)
            output.logits = output.logits + torch.arange(64.0)
            return output

    model.__class__ = Shifted
    with pytest.raises(InputError, match="no way that is known"):
        TransformersLM(model)


def test_a_cache_that_cannot_select_rows_is_refused():
    lm = TransformersLM(tiny_model())
    _, state = lm.begin(*left_padded([[1, 2]]), 1, 1)
    state._cache = object()
    with pytest.raises(InputError, match="cannot select rows"):
        state.keep(torch.tensor([0]))
