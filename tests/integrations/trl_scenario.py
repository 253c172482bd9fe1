"""Tiny language models in the trainers of TRL, and a note of which rows they see."""

import numpy as np
import torch
from datasets import Dataset

from tests.language.tiny_models import character_tokenizer, tiny_model

EXAMPLES = 14
DIFFICULTY = np.random.default_rng(3).permutation(EXAMPLES)
NAMES = [f"{chr(97 + i)}=" for i in range(EXAMPLES)]
COMMON = {
    "learning_rate": 0.01,
    "num_train_epochs": 2,
    "per_device_train_batch_size": 4,
    "save_strategy": "no",
    "report_to": [],
    "disable_tqdm": True,
    "use_cpu": True,
    "bf16": False,
    "logging_strategy": "no",
}


def fresh_model():
    """A random model with dropout, so that a resumed run must restore randomness too."""
    model = tiny_model(attention_dropout=0.2)
    model.generation_config.eos_token_id = 1
    return model


def note_rows(model) -> list[list[int]]:
    """Keep which rows each pass in training shows, told by the first letter of their prompts."""
    letters = {character_tokenizer()(name)["input_ids"][0]: i for i, name in enumerate(NAMES)}
    seen: list[list[int]] = []

    def hook(module, args, kwargs):
        ids = kwargs.get("input_ids", args[0] if args else None)
        if module.training and torch.is_grad_enabled():
            seen.append([next(letters[t] for t in row if t in letters) for row in ids.tolist()])

    model.register_forward_pre_hook(hook, with_kwargs=True)
    return seen


def texts() -> Dataset:
    """Prompts that begin with a letter of their own, and completions."""
    rows = [{"prompt": name, "completion": f"{i * 7 % 10}" * 3} for i, name in enumerate(NAMES)]
    return Dataset.from_list(rows)


def pairs() -> Dataset:
    """Prompts with a chosen and a rejected completion."""
    return Dataset.from_list([{"prompt": name, "chosen": "11", "rejected": "22"} for name in NAMES])


def sft(folder, dataset=None, **arguments):
    from trl import SFTConfig, SFTTrainer

    return SFTTrainer(
        model=fresh_model(),
        args=SFTConfig(output_dir=str(folder), max_length=32, **{**COMMON, **arguments}),
        train_dataset=texts() if dataset is None else dataset,
        processing_class=character_tokenizer(),
    )


def dpo(folder, **arguments):
    from trl import DPOConfig, DPOTrainer

    return DPOTrainer(
        model=fresh_model(),
        ref_model=fresh_model(),
        args=DPOConfig(output_dir=str(folder), max_length=32, **{**COMMON, **arguments}),
        train_dataset=pairs(),
        processing_class=character_tokenizer(),
    )


def grpo(folder, reward, kind="GRPO", **arguments):
    """A GRPO (or RLOO) trainer of 2 prompts a batch with 4 generations each."""
    import trl

    settings = {
        "num_generations": 4,
        "max_completion_length": 4,
        "per_device_train_batch_size": 8,
        "steps_per_generation": 1,
        **arguments,
    }
    return getattr(trl, f"{kind}Trainer")(
        model=fresh_model(),
        reward_funcs=reward,
        args=getattr(trl, f"{kind}Config")(output_dir=str(folder), **{**COMMON, **settings}),
        train_dataset=texts().remove_columns("completion"),
        processing_class=character_tokenizer(),
    )
