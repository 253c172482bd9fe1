"""The examples of the README and the docs run, and their links lead somewhere."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits

ROOT = Path(__file__).parents[1]
GENERATED = "reference/index.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)


def run_readme_example(place: int) -> tuple[dict, str]:
    names: dict = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(blocks(ROOT / "README.md")[place], "README.md", "exec"), names)
    return names, printed.getvalue()


def test_the_readme_example_profiles_a_table(tmp_path, monkeypatch):
    table = load_breast_cancer(as_frame=True).frame.rename(columns={"target": "label"})
    false = np.random.default_rng(0).choice(len(table), 25, replace=False)
    table.loc[false, "label"] = 1 - table.loc[false, "label"]
    table.to_parquet(tmp_path / "train.parquet")
    monkeypatch.chdir(tmp_path)
    names, printed = run_readme_example(0)
    worst = names["result"].label_errors["row"].head(15)
    assert np.isin(worst, false).mean() > 0.8
    assert "probably mislabelled" in printed
    assert (tmp_path / "profiled/report.html").is_file()


def test_the_readme_example_finds_false_labels(tmp_path, monkeypatch):
    X, true = load_digits(return_X_y=True)
    generator = np.random.default_rng(0)
    false = generator.random(len(true)) < 0.2
    labels = np.where(false, (true + generator.integers(1, 10, len(true))) % 10, true)
    table = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)]).assign(label=labels)
    table.to_parquet(tmp_path / "train.parquet")
    monkeypatch.chdir(tmp_path)
    names, printed = run_readme_example(1)
    worst = names["table"].nlargest(100, "suspicion").index
    assert false[worst].mean() > 0.95
    assert "suspicion" in printed


def test_the_readme_example_reranks_candidates(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    answers = generator.integers(3, size=(40, 8))
    rows = pd.DataFrame(
        {
            "problem": np.repeat([f"p{i}" for i in range(40)], 8),
            "answer": answers.ravel().astype(str),
            "reward": (answers == 1).ravel() + 0.1 * generator.random(320),
            "level": np.repeat(1 + np.arange(40) % 2, 8),
            "solution": "1",
        }
    )
    rows.to_parquet(tmp_path / "candidates.parquet")
    monkeypatch.chdir(tmp_path)
    names, printed = run_readme_example(2)
    chosen = names["result"].choices
    solvable = (answers == 1).any(axis=1)
    assert ((chosen["best_of_n"] == "1").to_numpy() == solvable).all()
    assert "majority" in printed


def test_the_first_example_of_the_training_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"features": torch.randn(70, 64), "labels": torch.randint(10, (70,))}
    exec(compile(blocks(ROOT / "docs/train.md")[0], "train.md", "exec"), names)
    assert names["result"].step == 40
    assert (tmp_path / "runs/first/step-000000040/model.safetensors").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_compile_and_links_lead_somewhere(page):
    for block in blocks(page):
        compile(block, str(page), "exec")
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert link == GENERATED or (page.parent / link).exists(), link
