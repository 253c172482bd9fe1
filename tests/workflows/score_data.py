"""Small data, and a tiny language model, for the tests of scoring."""

import copy
import json
from pathlib import Path

import numpy as np
import pandas as pd

from gradatim.language.loading import LanguageModel
from gradatim.language.transformers_lm import TransformersLM
from tests.language.tiny_models import character_tokenizer, tiny_model

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}<end>\n{% endfor %}"
    "{% if add_generation_prompt %}<a>{% endif %}"
)


def tiny(chat: bool = False, **changes) -> LanguageModel:
    """A random model that reads characters, with a chat template or without."""
    tokenizer = copy.deepcopy(character_tokenizer())
    tokenizer.chat_template = TEMPLATE if chat else None
    return LanguageModel(TransformersLM(tiny_model(**changes)), tokenizer, "tiny")


def sums(rows: int = 20, seed: int = 0) -> pd.DataFrame:
    """Questions with answers and levels."""
    random = np.random.default_rng(seed)
    a, b = random.integers(1, 50, rows), random.integers(1, 50, rows)
    question = [f"{x}+{y}?" for x, y in zip(a, b, strict=True)]
    answer = [f"{x}+{y}={x + y}\n#### {x + y}" for x, y in zip(a, b, strict=True)]
    return pd.DataFrame({"question": question, "answer": answer, "level": 1 + (a + b) // 34})


def write_jsonl(path: Path, records: list[dict]) -> Path:
    """Records as JSON Lines."""
    path.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
    return path
