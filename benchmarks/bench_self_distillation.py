"""Time that self-distillation adds to updates of about 20 milliseconds."""

import json

from alternating import CLASSES, EXAMPLES, LIMIT, alternate
from gradatim.recipes.noisy_labels import CrossEntropy
from gradatim.recipes.self_distillation import ProgressiveSelfDistillation
from gradatim.targets.compact_predictions import CompactPredictions

MICROSECONDS = 50.0


def measure(kept: str, recipe: ProgressiveSelfDistillation) -> dict[str, object]:
    """Updates by self-distillation beside those by cross-entropy."""
    plain = CrossEntropy()

    def step(model, batch, state):  # type: ignore[no-untyped-def]
        return (recipe if state.step % 2 else plain).step(model, batch, state)

    added = alternate(step)
    return added.line(f"self-distillation, predictions in {kept}", "cross-entropy") | {
        "limit": f"at most {LIMIT:.0%} of a step of 20 ms, or {MICROSECONDS:.0f} microseconds",
        "within": added.share <= LIMIT or added.added <= MICROSECONDS * 1e-6,
    }


def main() -> None:
    """Print a line of JSON for each way to keep predictions."""
    ways = {
        "float32": None,
        "float16": CompactPredictions(EXAMPLES, CLASSES),
        "float16, the ten largest": CompactPredictions(EXAMPLES, CLASSES, top_k=10),
    }
    for kept, past in ways.items():
        recipe = ProgressiveSelfDistillation(EXAMPLES, CLASSES, past=past)
        recipe.updates_in_epoch = 1
        print(json.dumps(measure(kept, recipe)))


if __name__ == "__main__":
    main()
