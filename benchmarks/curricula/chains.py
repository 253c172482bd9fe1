"""A small Llama on chains of arithmetic, for the trainers of language models."""

import tempfile
from functools import cache
from typing import Any

import torch
from common import QUIET

from gradatim.studies.data.arithmetic_chains import TOKENIZER, Chain, apply, draw_chains, grade

LEVELS = (1, 2, 3)
LONGEST, TESTED = 40, 200


def chain_tokenizer() -> Any:
    """The alphabet of the chains for transformers, a token a character."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<pad>", *TOKENIZER.alphabet]
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<pad>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="#")


def small_llama() -> Any:
    """Two layers of 64 units, at random."""
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(vocab_size=len(TOKENIZER), hidden_size=64, intermediate_size=192,
                    num_hidden_layers=2, num_attention_heads=4, pad_token_id=0,
                    bos_token_id=None, eos_token_id=len(TOKENIZER) - 1)
    )  # fmt: skip


def small_sums(level: int, count: int, seed: int, use: str) -> list[Chain]:
    """Chains that add 1, 2 or 3 in every step: what a small model learns within seconds."""
    return [_small_sum(chain) for chain in draw_chains(level, count, seed, use)]


def _small_sum(chain: Chain) -> Chain:
    steps = tuple(
        (letter, "+", str(1 + int(operand, 17) % 3)) for letter, _, operand in chain.steps
    )
    value, first = chain.start, chain.question.partition(";")[0]
    for _, operation, operand in steps:
        value = apply(value, operation, operand)
    question = ";".join([first, *map("".join, steps)]) + "?"
    return Chain(question, value, chain.level, chain.start, steps)


def warm_llama(seed: int, problems: int = 1200, updates: int = 400) -> Any:
    """A small Llama tuned on small sums until it solves some of them."""
    model = small_llama()
    model.load_state_dict(_warmed(seed, problems, updates))
    return model


@cache
def _warmed(seed: int, problems: int, updates: int) -> dict[str, torch.Tensor]:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    chains = [c for level in LEVELS for c in small_sums(level, problems, seed, "warm")]
    rows = [{"prompt": c.question, "completion": c.solution[:-1]} for c in chains]
    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model=small_llama(), train_dataset=Dataset.from_list(rows),
            processing_class=chain_tokenizer(),
            args=SFTConfig(folder, max_steps=updates, per_device_train_batch_size=16, seed=seed,
                           learning_rate=5e-3, warmup_steps=20, max_length=None, use_cpu=True,
                           bf16=False, **QUIET),
        )  # fmt: skip
        trainer.train()
    state: dict[str, torch.Tensor] = trainer.model.state_dict()
    return state


def solutions(model: Any, chains: list[Chain], **sampling: Any) -> list[str]:
    """What a model writes after problems of one level, the likeliest or sampled."""
    asked = torch.tensor([TOKENIZER.encode(chain.question) for chain in chains])
    with torch.no_grad():
        written = model.eval().generate(
            input_ids=asked, attention_mask=torch.ones_like(asked), max_new_tokens=LONGEST,
            **(sampling or {"do_sample": False}),
        )  # fmt: skip
    return [TOKENIZER.decode(row) for row in written[:, asked.shape[1] :].tolist()]


def log_probabilities(model: Any, asked: list[str], written: list[str]) -> torch.Tensor:
    """Of solutions after their problems, shape [N]."""
    texts = [torch.tensor(TOKENIZER.encode(a + b)) for a, b in zip(asked, written, strict=True)]
    ids = torch.nn.utils.rnn.pad_sequence(texts, True)
    start = torch.tensor([[len(question)] for question in asked])
    mask = (torch.arange(1, ids.shape[1]) >= start) & (ids[:, 1:] > 0)
    with torch.no_grad():
        scores = model.eval()(input_ids=ids, attention_mask=(ids > 0).long()).logits[:, :-1]
    token = scores.log_softmax(dim=-1).gather(2, ids[:, 1:, None])[..., 0]
    return (token * mask).sum(dim=1)


def share_solved(model: Any, seed: int, copies: int = 1, **sampling: Any) -> float:
    """Share of new problems that are solved, over all numbers of steps."""
    solved = []
    for level in LEVELS:
        chains = small_sums(level, TESTED, seed, "test") * copies
        written = solutions(model, chains, **sampling)
        solved += [grade(c, text).correct for c, text in zip(chains, written, strict=True)]
    return sum(solved) / len(solved)
