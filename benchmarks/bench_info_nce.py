"""The blockwise InfoNCE beside matrix products, the plain form and sentence-transformers' loss.

Run with ``python benchmarks/bench_info_nce.py``; prints JSON lines. Embeddings have 384 numbers in
float32, and a run is forward and backward to them.

- Speed: 4,096 queries against 80,000 candidates, a slab of the 80,000 x 80,000 similarities, beside
  four matrix products of that size, which are cut into blocks as ours are. Both go on in turn.
- Memory: what a run needs at its peak beyond embeddings and their gradients, and the plain form
  beside it, each in its own process. ``--whole`` runs all of 80,000 x 80,000 once instead (some
  minutes).
- sentence-transformers' cached loss on ready embeddings, at the best of several sizes of its
  mini-batches.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gradatim.objectives.contrastive import info_nce
from gradatim.objectives.contrastive_blocks import blockwise_info_nce

BATCH, DIM, SLAB, BLOCK = 80_000, 384, 4096, 512
SQUARE, PEER_SIZE, MINI_BATCHES = 8192, 6144, (128, 512, 2048)
ROUNDS, PRODUCTS_LIMIT, MEMORY_LIMIT = 3, 1.25, 1e9
FORMS: dict[str, Callable[..., torch.Tensor]] = {
    "blockwise": blockwise_info_nce,
    "plain": info_nce,
}


def embeddings(rows: int) -> torch.Tensor:
    """Random directions, with a place for the gradient."""
    made = torch.nn.functional.normalize(torch.randn(rows, DIM), dim=1).requires_grad_()
    made.grad = torch.zeros_like(made).add_(0.0)
    return made


def seconds(run: Callable[[], object]) -> float:
    """How long a run takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def in_turn(*runs: Callable[[], object]) -> list[float]:
    """Medians of the times of runs that take turns, after one round to warm up."""
    times = [[seconds(run) for run in runs] for _ in range(ROUNDS + 1)][1:]
    return [statistics.median(column) for column in zip(*times, strict=True)]


def beside_products() -> dict[str, object]:
    """A slab of rows beside the products that it cannot do without."""
    query, positive = embeddings(SLAB), embeddings(SLAB)
    negatives = embeddings(BATCH - SLAB)
    candidates, anchors = torch.cat([positive, negatives]).detach(), query.detach()
    block = torch.empty(BLOCK, BATCH)
    of_rows, of_columns = torch.empty(BLOCK, DIM), torch.zeros(BATCH, DIM)

    def products() -> None:
        for part in anchors.split(BLOCK):
            torch.mm(part, candidates.T, out=block)
            torch.mm(part, candidates.T, out=block)
            torch.mm(block, candidates, out=of_rows)
            of_columns.addmm_(block.T, part)

    def ours() -> None:
        blockwise_info_nce(query, positive, negatives=negatives).backward()

    own, peer = in_turn(ours, products)
    return {
        "benchmark": f"InfoNCE there and back, {SLAB:,} rows of {BATCH:,} x {BATCH:,} x {DIM}",
        "ours_s": own,
        "peer": "four matrix products",
        "peer_s": peer,
        "ratio": peer / own,
        "limit": f"at most {PRODUCTS_LIMIT} times four matrix products",
        "within": own <= PRODUCTS_LIMIT * peer,
    }


def beside_sentence_transformers() -> dict[str, object]:
    """The same loss of the same embeddings, in the mini-batches that suit the other best."""
    from sentence_transformers.sentence_transformer.losses import (
        CachedMultipleNegativesRankingLoss,
    )

    query, positive = embeddings(PEER_SIZE), embeddings(PEER_SIZE)
    model = torch.nn.Sequential(torch.nn.Identity())

    def cached(size: int) -> Callable[[], object]:
        loss = CachedMultipleNegativesRankingLoss(model, mini_batch_size=size)
        return lambda: loss.calculate_loss([[query], [positive]], with_backward=True)

    best = min(MINI_BATCHES, key=lambda size: seconds(cached(size)))
    own, peer = in_turn(lambda: blockwise_info_nce(query, positive).backward(), cached(best))
    return {
        "benchmark": f"InfoNCE of ready embeddings, {PEER_SIZE:,} x {PEER_SIZE:,} x {DIM}",
        "ours_s": own,
        "peer": f"sentence-transformers' cached loss, mini-batches of {best}",
        "peer_s": peer,
        "ratio": peer / own,
        "limit": "faster",
        "within": own < peer,
    }


def beside_plain() -> dict[str, object]:
    """Peak memory and time of both forms, at a size at which the plain one fits."""
    (own, memory), (peer, peer_memory) = (in_own_process(form, SQUARE) for form in FORMS)
    return {
        "benchmark": f"InfoNCE there and back, {SQUARE:,} x {SQUARE:,} x {DIM}, once",
        "ours_s": own,
        "peer": "the plain form",
        "peer_s": peer,
        "ratio": peer / own,
        "memory_beyond_embeddings_and_gradients": f"{memory / 1e6:,.0f} MB",
        "of_the_plain_form": f"{peer_memory / 1e6:,.0f} MB",
    }


def whole() -> dict[str, object]:
    """All of it once."""
    own, memory = in_own_process("blockwise", BATCH)
    return {
        "benchmark": f"InfoNCE there and back, {BATCH:,} x {BATCH:,} x {DIM}, once",
        "ours_s": own,
        "memory_beyond_embeddings_and_gradients": f"{memory / 1e6:,.0f} MB",
        "limit": f"at most {MEMORY_LIMIT / 1e9:.0f} GB beyond embeddings and their gradients",
        "within": memory <= MEMORY_LIMIT,
    }


def in_own_process(form: str, size: int) -> tuple[float, float]:
    """Seconds, and bytes at the peak beyond embeddings and their gradients."""
    run = subprocess.run(
        [sys.executable, __file__, "--peak", form, str(size)], capture_output=True, text=True
    )
    if run.returncode:
        raise RuntimeError(run.stderr)
    taken, memory = json.loads(run.stdout)
    return taken, memory


def peak(form: str, size: int) -> None:
    """Print the seconds and the further memory of one run."""
    FORMS[form](embeddings(64), embeddings(64)).backward()
    query, positive = embeddings(size), embeddings(size)
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    before = most_memory()
    taken = seconds(lambda: FORMS[form](query, positive).backward())
    print(json.dumps([taken, most_memory() - before]))


def most_memory() -> int:
    """The largest memory of this process so far, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024


def main() -> None:
    """Speed, memory and the peer, or what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="run all of it once")
    parser.add_argument("--peak", nargs=2, metavar=("FORM", "SIZE"), help="one run alone")
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    if given.peak:
        peak(given.peak[0], int(given.peak[1]))
        return
    measures = [whole] if given.whole else [
        beside_products, beside_plain, beside_sentence_transformers
    ]  # fmt: skip
    for measure in measures:
        print(json.dumps(measure()), flush=True)


if __name__ == "__main__":
    main()
