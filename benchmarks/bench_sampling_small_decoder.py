"""Tokens a second of the small decoder, over ``generate`` of transformers with a like model."""

import json
import statistics
import time
from typing import Any

import torch

from gradatim.language.sampling import left_padded, sample
from gradatim.networks.decoder import SmallDecoder

VOCABULARY, HIDDEN, LAYERS, HEADS = 52, 128, 2, 2
PROMPTS, COPIES, LENGTH, NEW = 32, 8, 24, 48
ROUNDS, LIMIT = 5, 2.5
ROWS = PROMPTS * COPIES


def peer_model(dtype: torch.dtype, attention: str) -> Any:
    """A Llama of the same depth and width, whose feed-forward layers cost the same."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=8 * HIDDEN // 3,  # its three matrices are as large as the usual two
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        max_position_embeddings=LENGTH + NEW,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        attn_implementation=attention,
    )
    torch.manual_seed(0)
    return LlamaForCausalLM(config).eval().to(dtype)


def ours(model: SmallDecoder, prompts: list[list[int]]) -> float:
    """Seconds of this library."""
    start = time.perf_counter()
    responses = sample(model, prompts, copies=COPIES, longest=NEW, batch_rows=ROWS)
    seconds = time.perf_counter() - start
    assert int(responses.lengths.sum()) == ROWS * NEW
    return seconds


def peer(model: Any, prompts: list[list[int]]) -> float:
    """Seconds of ``generate``: one batch, key-value cache, no end."""
    ids, mask = left_padded(prompts)
    start = time.perf_counter()
    with torch.inference_mode():
        whole = model.generate(
            ids,
            attention_mask=mask.long(),
            do_sample=True,
            top_k=0,
            num_return_sequences=COPIES,
            max_new_tokens=NEW,
        )
    seconds = time.perf_counter() - start
    assert whole.shape == (ROWS, LENGTH + NEW)
    return seconds


def main() -> None:
    """Print the medians of interleaved rounds as one line of JSON, the peer at its fastest."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = SmallDecoder(VOCABULARY, hidden_size=HIDDEN, layers=LAYERS, heads=HEADS).eval()
    prompts = torch.randint(1, VOCABULARY, (PROMPTS, LENGTH)).tolist()
    candidates = {
        (str(dtype).removeprefix("torch."), attention): peer_model(dtype, attention)
        for dtype in (torch.float32, torch.bfloat16)
        for attention in ("sdpa", "eager")
    }
    for other in candidates.values():
        peer(other, prompts)  # warm up
    times = {
        name: min(peer(other, prompts) for _ in range(2)) for name, other in candidates.items()
    }
    fastest = min(times, key=lambda name: times[name])
    ours(model, prompts)
    pairs = [(ours(model, prompts), peer(candidates[fastest], prompts)) for _ in range(ROUNDS)]
    ratio = statistics.median(b / a for a, b in pairs)
    result = {
        "benchmark": f"sampling, decoder of {LAYERS} x {HIDDEN}, {ROWS} rows x {NEW} tokens",
        "ours_s": statistics.median(a for a, _ in pairs),
        "peer": f"transformers generate, Llama, {' '.join(fastest)}",
        "peer_s": statistics.median(b for _, b in pairs),
        "ratio": round(ratio, 3),
        "ours_tokens_per_s": round(ROWS * NEW / statistics.median(a for a, _ in pairs)),
        "peer_tokens_per_s": round(ROWS * NEW / statistics.median(b for _, b in pairs)),
        "limit": f"ratio at least {LIMIT}",
        "within": ratio >= LIMIT,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
