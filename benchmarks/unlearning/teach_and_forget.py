"""Teach a language model twenty invented facts, make it forget ten of them, and draw how that went.

    python benchmarks/unlearning/teach_and_forget.py --out runs/facts --methods npo+kl ga+kl uld

Two models are taught by plain supervised tuning: one all facts, and one only those that are kept,
which is what the first should be like once it has forgotten. Every step that is done already is
not done again. The figure goes to ``<out>/curves.svg``.
"""

import argparse
import json
import time
from pathlib import Path

import torch

try:
    from facts import invented, world
except ImportError:  # imported as a module of a package
    from benchmarks.unlearning.facts import invented, world

from gradatim.core.precision import default_dtype, precision_name
from gradatim.language.loading import load_language_model
from gradatim.language.log_probabilities import token_log_probabilities
from gradatim.training.batches import ShuffledBatches
from gradatim.training.fit import fit
from gradatim.training.step import Loss
from gradatim.workflows.figure_style import to_svg
from gradatim.workflows.unlearn import unlearn
from gradatim.workflows.unlearn_encoding import TextEncoder
from gradatim.workflows.unlearn_figure import draw_methods
from gradatim.workflows.unlearn_inputs import load_texts


def write_facts(out: Path) -> dict[str, Path]:
    """The facts as JSON Lines: to forget, to keep, and of the world."""
    out.mkdir(parents=True, exist_ok=True)
    files = {}
    parts = (
        ("forget", invented(range(10))),
        ("retain", invented(range(10, 20))),
        ("world", world()),
    )
    for name, rows in parts:
        files[name] = out / f"{name}.jsonl"
        files[name].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return files


def teach(source: str, rows: list[dict[str, object]], folder: Path, epochs: int, lr: float) -> None:
    """Tune a model on questions with their answers, and write it."""
    if (folder / "config.json").is_file():
        return
    started = time.process_time()
    loaded = load_language_model(source, dtype="float32")
    table = {name: [str(row[name]) for row in rows] for name in ("question", "answer")}
    encoded = TextEncoder(loaded.tokenizer, loaded.stop).texts(load_texts("facts", table))

    def step(model, batch, state):
        response = batch["response"]
        logp = token_log_probabilities(model, batch["ids"], batch["mask"], only=response)
        return Loss(-logp.sum(), response.sum())

    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr, weight_decay=0.0)
    result = fit(
        loaded.model, encoded.examples(), step,
        optimizer=optimizer, epochs=epochs, batches=ShuffledBatches(len(encoded), 5),
        precision=precision_name(default_dtype(loaded.model.device)), progress_bar=False,
    )  # fmt: skip
    loaded.model.inner.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    loss, seconds = result.history[-1]["loss"], time.process_time() - started
    told = f"taught {len(rows)} facts in {result.step} updates, loss {loss:.3f}"
    print(f"{told}, {seconds:.0f} s of a core", flush=True)


def main() -> None:
    """Teach, forget, measure, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--out", type=Path, default=Path("runs/facts"))
    parser.add_argument("--methods", nargs="+", default=["npo+kl", "ga+kl", "uld"])
    parser.add_argument("--epochs", type=int, default=10, help="of forgetting")
    parser.add_argument("--lr", type=float, default=4e-5, help="of forgetting, but for uld")
    parser.add_argument("--assistant-epochs", type=int, default=40, help="of uld")
    parser.add_argument("--target", type=float, default=0.2, help="probability to end at")
    options = parser.parse_args()
    out, files = options.out, write_facts(options.out)
    kept = invented(range(10, 20))
    teach(options.model, [*invented(range(10)), *kept], out / "taught", 10, 5e-5)
    teach(options.model, kept, out / "never-taught", 10, 5e-5)
    curves = {}
    for method in options.methods:
        started, spent = time.monotonic(), time.process_time()
        result = unlearn(
            out / "taught", files["forget"], files["retain"],
            method=method, out=out / method, reference=out / "never-taught",
            utility={"world": files["world"]}, batch_size=5, longest=24, relearn_steps=6,
            **(
                {"epochs": options.assistant_epochs, "evaluate_every": 10}
                if method == "uld"
                else {
                    "lr": options.lr, "epochs": options.epochs, "evaluate_every": 2,
                    "forget_target": options.target,
                }
            ),
        )  # fmt: skip
        result.save(out / method, overwrite=True)
        if method != "uld":  # whose curve is that of an assistant, which begins with harm
            curves[method] = (result.curve.to_dict("records"), result.step)
        print(f"\n{result.sentence()}\n{result.criterion}")
        print(result.figures.drop(columns="name").to_string(index=False, float_format="%.3f"))
        shown = result.rows.groupby("set", sort=False).head(3)
        print(shown[["question", "said_before", "said_after"]].to_string(index=False))
        print(f"{time.monotonic() - started:.0f} s, {time.process_time() - spent:.0f} of a core")
    picture = to_svg(draw_methods(curves), "What is forgotten and what is kept over the updates")
    (out / "curves.svg").write_text(picture, encoding="utf-8")
    print(f"written: {out / 'curves.svg'}")


if __name__ == "__main__":
    main()
