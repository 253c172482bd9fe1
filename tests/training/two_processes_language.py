"""Run by ``accelerate launch``: language recipes on batches by tokens, in each process."""

import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from gradatim.language.response_examples import PreferenceExamples, ResponseExamples
from gradatim.language.sampling import as_responses
from gradatim.language.transformers_lm import TransformersLM
from gradatim.recipes.iterative_dpo import PreferenceTuning, referenced_pairs
from gradatim.recipes.supervised_tuning import SupervisedTuning
from gradatim.recipes.unlearning import UnlearningStep
from gradatim.training.fit import fit
from gradatim.training.token_batches import TokenBatches
from tests.language.tiny_models import tiny_model

TOKENS = 84  # no batch has fewer rows than there are processes


def texts(count: int, seed: int) -> list[list[int]]:
    """Token sequences of 1 to 9 tokens."""
    draw = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 10, (count,), generator=draw).tolist()
    return [torch.randint(3, 60, (length,), generator=draw).tolist() for length in lengths]


def tune(kind: str) -> dict[str, torch.Tensor]:
    """The weights after some updates of a recipe, the same in all processes."""
    model = TransformersLM(tiny_model())
    prompts, chosen, rejected = (texts(21, seed) for seed in range(3))
    answers = ResponseExamples(prompts, as_responses(chosen))
    if kind == "supervised":
        step, examples = SupervisedTuning().step, answers
        lengths = examples.lengths
    elif kind == "unlearning":
        recipe = UnlearningStep("npo")  # what is kept is a mean over tokens of each process's share
        pairs, batches = recipe.pairs(model, answers, batch_size=6)
        return _fit(model, pairs, recipe.step, batches)
    else:
        step = PreferenceTuning(0.5).step
        examples = referenced_pairs(
            model, prompts, *map(as_responses, (chosen, rejected)), dtype=torch.float32
        )
        assert isinstance(examples, PreferenceExamples)
        lengths = examples.sides["chosen"].lengths + examples.sides["rejected"].lengths
    return _fit(model, examples, step, TokenBatches(lengths, TOKENS, rounding=4))


def _fit(model, examples, step, batches):
    fit(
        model, examples, step, optimizer=torch.optim.SGD(model.parameters(), 0.5), epochs=2,
        batches=batches, accumulate=2, precision="float32", progress_bar=False,
    )  # fmt: skip
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def main(out: Path) -> None:
    """One file a recipe and process."""
    torch.set_num_threads(1)
    rank = int(os.environ.get("RANK", 0))
    for kind in ("supervised", "preference", "unlearning"):
        save_file(tune(kind), out / f"{kind}-{rank}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    if torch.distributed.is_initialized():  # threads left to the interpreter's end may abort it
        torch.distributed.destroy_process_group()
