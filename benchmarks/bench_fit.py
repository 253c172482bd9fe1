"""Time that ``fit`` adds to an update, over a bare loop on the same data path with clipping."""

import json
import statistics
import time

import torch

from gradatim.core.examples import TensorExamples
from gradatim.training import Loss, ShuffledBatches, fit

STEPS, BATCH, ROUNDS, LIMIT = 600, 64, 7, 250.0


def model_and_optimizer() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A small network: the smaller the step, the more the loop itself weighs."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    return model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)


def bare(examples: TensorExamples, plan: ShuffledBatches) -> float:
    """Seconds of a loop written out by hand."""
    model, optimizer = model_and_optimizer()
    start = time.perf_counter()
    for step in range(STEPS):
        epoch, position = divmod(step, len(plan))
        batch = examples[plan.batch(epoch, position, 0.0).tolist()]
        loss = torch.nn.functional.cross_entropy(model(batch["x"]), batch["label"])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return time.perf_counter() - start


def ours(examples: TensorExamples, plan: ShuffledBatches) -> float:
    """Seconds of ``fit`` on the same."""
    model, optimizer = model_and_optimizer()

    def step(model, batch, state):  # type: ignore[no-untyped-def]
        logits = model(batch["x"])
        return Loss.of(torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none"))

    start = time.perf_counter()
    fit(model, examples, step, optimizer=optimizer, steps=STEPS, batches=plan, clip_norm=1.0)
    return time.perf_counter() - start


def main() -> None:
    """Print the medians of interleaved rounds as one line of JSON."""
    torch.set_num_threads(1)
    examples = TensorExamples(x=torch.randn(6400, 64), label=torch.randint(10, (6400,)))
    plan = ShuffledBatches(6400, BATCH)
    bare(examples, plan), ours(examples, plan)
    pairs = [(ours(examples, plan), bare(examples, plan)) for _ in range(ROUNDS)]
    added = statistics.median((a - b) / STEPS * 1e6 for a, b in pairs)
    result = {
        "benchmark": f"fit, {STEPS} updates of a small network",
        "ours_s": statistics.median(a for a, _ in pairs),
        "peer": "bare loop",
        "peer_s": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(b / a for a, b in pairs),
        "added_microseconds_per_step": round(added, 1),
        "limit": f"at most {LIMIT:.0f} microseconds a step",
        "within": added <= LIMIT,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
