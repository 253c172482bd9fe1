"""Tokens a second of ``sample`` with SmolLM2, over ``generate`` of transformers on the same."""

import json
import statistics
import time
from typing import Any

import torch

from gradatim.language.loading import load_language_model
from gradatim.language.sampling import left_padded, sample

PROMPTS, COPIES, NEW, ROUNDS, LIMIT = 4, 8, 64, 3, 1.0


def prompts(vocabulary: int) -> list[list[int]]:
    """Prompts of 20 to 80 random tokens."""
    draw = torch.Generator().manual_seed(0)
    return [
        torch.randint(100, vocabulary, (20 + 20 * index,), generator=draw).tolist()
        for index in range(PROMPTS)
    ]


def ours(model: Any, asked: list[list[int]], stop: list[int]) -> float:
    """New tokens a second of this library."""
    start = time.perf_counter()
    responses = sample(model, asked, copies=COPIES, longest=NEW, stop=stop)
    return int(responses.lengths.sum()) / (time.perf_counter() - start)


def peer(model: Any, asked: list[list[int]], stop: list[int]) -> float:
    """New tokens a second of ``generate``: one batch, all rows together, key-value cache."""
    ids, mask = left_padded(asked)
    start = time.perf_counter()
    with torch.inference_mode():
        whole = model.inner.generate(
            ids,
            attention_mask=mask.long(),
            do_sample=True,
            top_k=0,
            num_return_sequences=COPIES,
            max_new_tokens=NEW,
            eos_token_id=stop or None,
            pad_token_id=0,
        )
    new = whole[:, ids.shape[1] :]
    ended = torch.isin(new, torch.tensor(stop, dtype=torch.long)).int()
    tokens = int(new.numel() - (ended.cumsum(dim=1) - ended).clamp(max=1).sum())
    return tokens / (time.perf_counter() - start)


def measure(model: Any, asked: list[list[int]], stop: list[int]) -> dict[str, float]:
    """Medians of interleaved rounds."""
    pairs = [(ours(model, asked, stop), peer(model, asked, stop)) for _ in range(ROUNDS)]
    return {
        "ours_tokens_per_s": round(statistics.median(a for a, _ in pairs), 1),
        "peer_tokens_per_s": round(statistics.median(b for _, b in pairs), 1),
        "ratio": round(statistics.median(a / b for a, b in pairs), 3),
    }


def main() -> None:
    """Print one line of JSON: without an end, and with rows that end at very different times."""
    torch.set_num_threads(1)
    loaded = load_language_model("smollm2", device="cpu")
    model, asked = loaded.model, prompts(loaded.model.vocabulary_size)
    model.inner.generation_config.eos_token_id = None  # else generate() stops where ours does not
    ours(model, asked[:2], []), peer(model, asked[:2], [])
    # An end at a comma, full stop or newline: rows end at very different times.
    full, ending = measure(model, asked, []), measure(model, asked, [28, 30, 198])
    tokens = PROMPTS * COPIES * NEW
    result = {
        "benchmark": f"sampling, SmolLM2-135M, {PROMPTS} prompts x {COPIES} samples x {NEW} tokens",
        "ours_s": tokens / full["ours_tokens_per_s"],
        "peer": "transformers generate",
        "peer_s": tokens / full["peer_tokens_per_s"],
        **full,
        "ratio_where_rows_end_early": ending["ratio"],
        "limit": f"ratio at least {LIMIT}",
        "within": min(full["ratio"], ending["ratio"]) >= LIMIT,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
