"""The examples of the page on very many classes run, one after the other."""

import re
from pathlib import Path

import torch

PAGE = Path(__file__).parents[1] / "docs/very-many-classes.md"


def test_the_loop_and_fit_lower_the_loss():
    torch.manual_seed(0)
    features, targets = torch.randn(320, 20), torch.randint(50, (320,))
    batches = list(zip(features.split(32), targets.split(32), strict=True))
    names = {"batches": batches, "features": features, "targets": targets}
    loop, with_fit = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.S | re.M)
    exec(compile(loop, PAGE.name, "exec"), names)
    first = float(names["loss"].detach())
    assert names["best"].index.shape == (32, 10)
    exec(compile(with_fit, PAGE.name, "exec"), names)
    sums = names["head"].train(False)(names["body"](features), targets)
    assert float(names["z_loss"](*sums, 50_000, a=0.1, b=20.0).detach()) < first
    drift = names["head"].check()
    assert max(drift["squares"], drift["sums"], drift["inverse"]) < 1e-4
