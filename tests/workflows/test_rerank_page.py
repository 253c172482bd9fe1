import contextlib
import io
import json

import pandas as pd
import pytest

from tests.test_docs import ROOT, blocks


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    pytest.importorskip("math_verify")
    outputs = [
        {"text": rf"so \boxed{{{answer}}}", "cumulative_logprob": -1.0} for answer in (1, 2, 2)
    ]
    lines = [
        {"prompt": f"p{n}", "outputs": outputs, "level": n % 2, "reference": "2"} for n in range(6)
    ]
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    names = {"my_scorer": lambda text: float("2" in text)}
    log, table = blocks(ROOT / "docs/rerank.md")
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile(log, "rerank.md", "exec"), names)
        assert names["result"].accuracy["accuracy"].min() == 1.0
        exec(compile(table, "rerank.md", "exec"), names)
    assert len(pd.read_csv("reranked/accuracy.csv")) == 12
    chosen = names["result"].choices[["majority", "weighted", "best_of_n"]].values.tolist()
    assert chosen == [["1/2", "1/2", "3"], ["x+1", "x+1", "x+1"]]
