"""Item response models beside py-irt and girth, and how cost grows: prints three JSON lines.

Run with ``python benchmarks/bench_item_response.py``; a ratio above 1 means that ours is faster.
With a number of responses as argument it fits that many sparse responses once instead, and prints
seconds and memory: ``python benchmarks/bench_item_response.py 100000000``.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gradatim.difficulty.item_response import ItemResponseModel
from peer_environment import peer_python, run_peer

SUBJECTS, ITEMS, EPOCHS, SLACK, ROUNDS = 1_000, 100, 1_000, 0.001, 3

GIRTH = """
import json, sys, time
import numpy as np
from girth import twopl_mml

responses = np.load(sys.argv[1]).astype(int).T
start = time.perf_counter()
found = twopl_mml(responses)
seconds = time.perf_counter() - start
keep = {key: found[key].tolist() for key in ("Difficulty", "Discrimination")}
print(json.dumps({"seconds": seconds, **keep}))
"""

PY_IRT = """
import json, sys, time
import numpy as np
import pyro
import torch
from py_irt.models.two_param_logistic import TwoParamLog
from pyro.infer import SVI, Trace_ELBO

torch.set_num_threads(1)
responses, hidden = np.load(sys.argv[1]), np.load(sys.argv[2])
subjects, items = np.nonzero(~hidden)
held_subjects, held_items = np.nonzero(hidden)
sign = np.where(responses[hidden] == 1, 1, -1)
data = (torch.tensor(subjects), torch.tensor(items), torch.tensor(responses[~hidden]).float())
curves = {}
for priors in ("hierarchical", "vague"):
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    model = TwoParamLog(
        priors=priors, num_items=responses.shape[1], num_subjects=responses.shape[0]
    )
    optimizer = pyro.optim.ExponentialLR(
        {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.1}, "gamma": 0.9999}
    )
    svi = SVI(model.get_model(), model.get_guide(), optimizer, loss=Trace_ELBO())
    svi.step(*data)  # sets up what later steps share; not counted
    spent, curve = 0.0, []
    for epoch in range(int(sys.argv[3])):
        start = time.perf_counter()
        svi.step(*data)
        optimizer.step()
        spent += time.perf_counter() - start
        if epoch % 10 == 9:
            found = {key: np.array(value) for key, value in model.export().items()}
            z = found["disc"][held_items] * (
                found["ability"][held_subjects] - found["diff"][held_items]
            )
            curve.append((spent, float(-np.logaddexp(0, -sign * z).mean())))
    curves[priors] = curve
print(json.dumps({"curves": curves}))
"""


def responses() -> tuple[np.ndarray, np.ndarray]:
    """A complete matrix of simulated responses, and which tenth of them is held out."""
    draw = np.random.default_rng(0)
    theta, b = draw.normal(size=(SUBJECTS, 1)), 1.2 * draw.normal(size=ITEMS)
    a = np.exp(0.3 * draw.normal(size=ITEMS))
    p = 1 / (1 + np.exp(-a * (theta - b)))
    return (draw.random(p.shape) < p).astype(float), draw.random(p.shape) < 0.1


def seconds(model: ItemResponseModel, data: Any) -> float:
    """Fit once and time it."""
    start = time.perf_counter()
    model.fit(data)
    return time.perf_counter() - start


def beside_girth(matrix: np.ndarray, path: str) -> dict[str, object]:
    """Marginal maximum likelihood of the same model on the same complete matrix."""
    python, ours, peer = peer_python("girth==0.8.0"), [], []
    for _ in range(ROUNDS):
        model = ItemResponseModel("2pl", priors="none")
        ours.append(seconds(model, matrix))
        found = run_peer(python, GIRTH, path)
        peer.append(found["seconds"])
    alike = float(np.corrcoef(model.difficulty_, found["Difficulty"])[0, 1])
    ratio = statistics.median(p / o for o, p in zip(ours, peer, strict=True))
    return {
        "benchmark": f"2PL by marginal maximum likelihood, {SUBJECTS:,} x {ITEMS} responses",
        "ours_s": statistics.median(ours),
        "peer": "girth 0.8.0",
        "peer_s": statistics.median(peer),
        "ratio": ratio,
        "limit": "ratio at least 1, correlation of difficulties at least 0.98",
        "within": ratio >= 1 and alike >= 0.98,
        "correlation": round(alike, 6),
    }


def beside_py_irt(matrix: np.ndarray, hidden: np.ndarray, paths: list[str]) -> dict[str, object]:
    """Time to the best held-out log-likelihood that py-irt reaches, less 0.001.

    py-irt runs at its default settings with both of its priors; the sooner one counts, and it
    counts as there at the first epoch that is, however its later epochs scatter. Ours is the whole
    fit.
    """
    seen, held_out = np.where(hidden, np.nan, matrix), np.where(hidden, matrix, np.nan)
    times = []
    for _ in range(ROUNDS):
        model = ItemResponseModel("2pl")
        times.append(seconds(model, seen))
    curves = run_peer(peer_python("py-irt==0.7.1"), PY_IRT, *paths, str(EPOCHS))["curves"]
    target = max(value for curve in curves.values() for _, value in curve) - SLACK
    peer = min(spent for curve in curves.values() for spent, value in curve if value >= target)
    ours, reached = statistics.median(times), model.score(held_out)
    return {
        "benchmark": f"2PL to a held-out log-likelihood, 90% of {SUBJECTS:,} x {ITEMS} responses",
        "ours_s": ours,
        "peer": "py-irt 0.7.1",
        "peer_s": peer,
        "ratio": peer / ours,
        "limit": "ratio at least 20",
        "within": peer / ours >= 20 and reached >= target,
        "target": round(target, 5),
        "reached": round(reached, 5),
    }


def sparse(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responses to 2,000 items, of which each subject gives 100."""
    draw, subjects, items = np.random.default_rng(0), max(1, count // 100), 2_000
    theta = draw.normal(size=subjects).astype(np.float32)
    b = 1.2 * draw.normal(size=items).astype(np.float32)
    a = np.exp(0.3 * draw.normal(size=items)).astype(np.float32)
    who = np.repeat(np.arange(subjects, dtype=np.int32), 100)
    what, right = np.empty(len(who), np.int32), np.empty(len(who), bool)
    for start in range(0, len(who), 1 << 22):
        part = slice(start, start + (1 << 22))
        what[part] = draw.integers(0, items, len(who[part]))
        z = a[what[part]] * (theta[who[part]] - b[what[part]])
        right[part] = draw.random(len(z), dtype=np.float32) < 1 / (1 + np.exp(-z))
    return who, what, right


def large(count: int) -> dict[str, float]:
    """Fit many sparse responses in a process of its own."""
    run = subprocess.run(
        [sys.executable, __file__, str(count)], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def growth() -> dict[str, object]:
    """Ten times as many responses take about ten times the processor's time a step."""
    small, ten = large(1_000_000), large(10_000_000)
    each = [one["processor_seconds"] / one["steps"] for one in (small, ten)]
    added = (ten["gigabytes"] - small["gigabytes"]) * 1e9 / 9_000_000
    ratio = 10 * each[0] / each[1]
    return {
        "benchmark": "2PL, one step, 10,000,000 sparse responses",
        "ours_s": each[1],
        "peer": "ten steps of 1,000,000 responses",
        "peer_s": 10 * each[0],
        "ratio": ratio,
        "limit": "ratio at least 0.5, 60 bytes a response",
        "within": ratio >= 0.5 and added <= 60,
        "bytes_a_response": round(added, 1),
        "whole_fit_s": round(ten["seconds"], 1),
    }


def one_large_fit(count: int) -> None:
    """Print seconds, steps and memory of one fit, and how the result compares with the truth."""
    data = sparse(count)
    before, processor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    model = ItemResponseModel("2pl")
    spent = seconds(model, data)
    processor = time.process_time() - processor
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "responses": count,
                "seconds": spent,
                "processor_seconds": processor,
                "steps": model.n_iter_,
                "gigabytes": after * 1024 / 1e9,
                "gigabytes_before": before * 1024 / 1e9,
                "log_likelihood": model.score(tuple(column[:1_000_000] for column in data)),
            }
        )
    )


def main() -> None:
    """Run the three comparisons."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    if len(sys.argv) > 1:
        one_large_fit(int(sys.argv[1]))
        return
    matrix, hidden = responses()
    ItemResponseModel("2pl").fit(matrix)
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("responses.npy", "hidden.npy")]
        for path, array in zip(paths, (matrix, hidden), strict=True):
            np.save(path, array)
        print(json.dumps(beside_py_irt(matrix, hidden, paths)))
        print(json.dumps(beside_girth(matrix, paths[0])))
    print(json.dumps(growth()))


if __name__ == "__main__":
    main()
