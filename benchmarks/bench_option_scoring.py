"""Log-likelihoods of 4 options of 1,000 questions beside a loop over whole sequences.

Run with ``python benchmarks/bench_option_scoring.py``; prints one JSON line. Prompts begin with the
same 128 tokens, as worked examples do, go on with 16 to 48 tokens of their own, and options have 1
to 8 tokens. The model is a small Llama with random weights.

The peer reads each prompt with each option in full through transformers: sequences of like length
together, at the best of several batch sizes, and logits of the options' tokens alone.
"""

import json
import statistics
import time

import torch

from gradatim.language.option_likelihood import option_log_likelihoods
from gradatim.language.sampling import right_padded
from gradatim.language.transformers_lm import TransformersLM

QUESTIONS, OPTIONS, SHARED, VOCABULARY = 1000, 4, 128, 8192
BATCH_SIZES, TRIAL, ROUNDS, LIMIT = (16, 64, 256), 100, 3, 2.0
Tokens = list[int]


def model_and_questions() -> tuple[TransformersLM, list[Tokens], list[list[Tokens]]]:
    """A model, prompts and options."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=192, intermediate_size=512, num_hidden_layers=4,
        num_attention_heads=3, num_key_value_heads=3, tie_word_embeddings=True,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(1)

    def tokens(least: int, most: int) -> Tokens:
        length = int(torch.randint(least, most + 1, (), generator=draw))
        return torch.randint(3, VOCABULARY, (length,), generator=draw).tolist()

    beginning = tokens(SHARED, SHARED)
    prompts = [beginning + tokens(16, 48) for _ in range(QUESTIONS)]
    options = [[tokens(1, 8) for _ in range(OPTIONS)] for _ in range(QUESTIONS)]
    return TransformersLM(LlamaForCausalLM(config).eval()), prompts, options


@torch.inference_mode()
def whole_sequences(
    model: TransformersLM, prompts: list[Tokens], options: list[list[Tokens]], size: int
) -> torch.Tensor:
    """The same scores from whole sequences."""
    rows = [
        (prompt + option, len(option), place, number)
        for place, (prompt, own) in enumerate(zip(prompts, options, strict=True))
        for number, option in enumerate(own)
    ]
    rows.sort(key=lambda row: len(row[0]))
    scores = torch.empty(len(prompts), OPTIONS)
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        ids, mask = right_padded([row[0] for row in some])
        first = min(len(row[0]) - row[1] for row in some) - 1
        logits = model.inner(
            input_ids=ids, attention_mask=mask.long(), use_cache=False,
            logits_to_keep=ids.shape[1] - first,
        ).logits[:, :-1]  # fmt: skip
        values = logits.gather(2, ids[:, first + 1 :, None])[..., 0] - logits.logsumexp(dim=2)
        for (sequence, length, place, number), one in zip(some, values, strict=True):
            end = len(sequence) - first - 1
            scores[place, number] = one[end - length : end].sum()
    return scores


def main() -> None:
    """The peer's best batch size on some questions, then both in turn on all."""
    torch.set_num_threads(1)
    model, prompts, options = model_and_questions()

    def seconds_of_size(size: int) -> float:
        began = time.perf_counter()
        whole_sequences(model, prompts[:TRIAL], options[:TRIAL], size)
        return time.perf_counter() - began

    best = min(BATCH_SIZES, key=seconds_of_size)
    own_times, peer_times = [], []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        own = option_log_likelihoods(model, prompts, options)
        own_times.append(time.perf_counter() - began)
        began = time.perf_counter()
        peer = whole_sequences(model, prompts, options, best)
        peer_times.append(time.perf_counter() - began)
    ratio = statistics.median(p / o for o, p in zip(own_times, peer_times, strict=True))
    apart = float((own - peer).abs().max() / peer.abs().max())
    print(
        json.dumps(
            {
                "benchmark": f"scores of {OPTIONS} x {QUESTIONS:,} options",
                "ours_s": statistics.median(own_times),
                "peer": f"whole sequences, transformers, batches of {best}",
                "peer_s": statistics.median(peer_times),
                "ratio": ratio,
                "limit": f"ratio at least {LIMIT}; values equal to 1e-5",
                "within": ratio >= LIMIT and apart <= 1e-5,
                "largest_difference": f"{apart:.1e}",
                "threads": 1,
            }
        )
    )


if __name__ == "__main__":
    main()
