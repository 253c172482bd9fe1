"""Time that recording training dynamics adds to updates of about 20 milliseconds."""

import json

import torch

from alternating import EXAMPLES, LIMIT, alternate
from gradatim.training import Loss
from gradatim.training.dynamics import DynamicsRecorder


def main() -> None:
    """Print one line of JSON."""
    dynamics = DynamicsRecorder(EXAMPLES)

    def step(model, batch, state):  # type: ignore[no-untyped-def]
        logits = model(batch["x"])
        if state.step % 2:
            dynamics.record(state, logits, batch["label"])
        losses = torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none")
        return Loss.of(losses)

    added = alternate(step, dynamics)
    result = added.line("recording training dynamics", "the same updates without") | {
        "limit": f"at most {LIMIT:.0%} of a step of 20 ms",
        "within": added.share <= LIMIT,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
