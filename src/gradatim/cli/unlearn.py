"""``gradatim unlearn``: make a language model forget texts, and measure whether it has."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gradatim.cli.options import AsJson

if TYPE_CHECKING:
    from gradatim.workflows.unlearn_result import UnlearnResult

SHOWN, WIDEST = 3, 60

Model = Annotated[
    str, typer.Argument(metavar="MODEL", help="Directory, .gguf file, adapter, or smollm2.")
]
Forget = Annotated[
    Path,
    typer.Option(
        metavar="FILE", help="What to forget: columns question and answer, or text; .txt, folder."
    ),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Where the model and the report go.")]
Retain = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What to keep, in the same forms.")
]
Method = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="npo, ga, idk, dpo, kto, each alone or with +rt or +kl; or uld."
    ),
]
Reference = Annotated[
    str | None, typer.Option(metavar="MODEL", help="A model trained without what to forget.")
]
Refusals = Annotated[
    Path | None, typer.Option(metavar="FILE", help="What idk, dpo and kto say instead.")
]
Utility = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="What should still be known; may be repeated."),
]
Unrelated = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Text whose perplexity is watched.")
]
Question = Annotated[str | None, typer.Option(metavar="COL", help="The column of questions.")]
Answer = Annotated[str | None, typer.Option(metavar="COL", help="The column of answers.")]
Text = Annotated[str | None, typer.Option(metavar="COL", help="The column of documents.")]
Rate = Annotated[
    float | None,
    typer.Option(metavar="X", help="Learning rate; default 1e-5, 2e-4 (--lora), 1e-3 (uld)."),
]
Epochs = Annotated[int, typer.Option(metavar="N", help="Passes over what to forget.")]
BatchSize = Annotated[int, typer.Option(metavar="N", help="Pairs in a batch.")]
Accumulate = Annotated[int, typer.Option(metavar="N", help="Batches in an update.")]
Beta = Annotated[float, typer.Option(metavar="X", help="Of npo, dpo and kto.")]
RetainWeight = Annotated[
    float | None, typer.Option(metavar="X", help="Of what is kept; default 1, and 5 (uld).")
]
Growth = Annotated[
    float, typer.Option(metavar="X", help="Perplexity of what is kept, times, that is a collapse.")
]
Target = Annotated[
    float | None, typer.Option(metavar="P", help="End at this probability of what to forget.")
]
EvaluateEvery = Annotated[
    int | None, typer.Option(metavar="N", help="Updates between looks at both.")
]
CheckpointEvery = Annotated[
    int | None, typer.Option(metavar="N", help="Updates between checkpoints.")
]
Precision = Annotated[
    str | None, typer.Option(metavar="float32|bfloat16", help="Of training; default the fast one.")
]
Lora = Annotated[
    int | None, typer.Option(metavar="RANK", help="Train and write a LoRA adapter instead.")
]
Layers = Annotated[int, typer.Option(metavar="N", help="Blocks of the assistant of uld.")]
AssistantWeight = Annotated[float, typer.Option(metavar="W", help="Of the assistant's logits.")]
MaxTokens = Annotated[int | None, typer.Option(metavar="N", help="A longer text is an error.")]
Chunk = Annotated[
    int | None, typer.Option(metavar="N", help="Cut documents into pieces of N tokens.")
]
Evaluated = Annotated[int, typer.Option(metavar="N", help="Texts of a set to measure, at most.")]
Longest = Annotated[int, typer.Option(metavar="N", help="New tokens of an answer, at most.")]
RelearnSteps = Annotated[
    int, typer.Option(metavar="N", help="Updates of the relearning attack; 0 for none.")
]
Device = Annotated[str | None, typer.Option(metavar="NAME", help="As cuda or cpu.")]
Dtype = Annotated[str, typer.Option(metavar="float32|bfloat16", help="Of the weights.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Of orders and draws.")]


def unlearn(
    model: Model,
    forget: Forget,
    out: Out,
    retain: Retain = None,
    method: Method = "npo+kl",
    reference: Reference = None,
    refusals: Refusals = None,
    utility: Utility = None,
    unrelated: Unrelated = None,
    question: Question = None,
    answer: Answer = None,
    text: Text = None,
    lr: Rate = None,
    epochs: Epochs = 10,
    batch_size: BatchSize = 4,
    accumulate: Accumulate = 1,
    beta: Beta = 0.1,
    retain_weight: RetainWeight = None,
    perplexity_growth: Growth = 2.0,
    forget_target: Target = None,
    evaluate_every: EvaluateEvery = None,
    checkpoint_every: CheckpointEvery = None,
    precision: Precision = None,
    lora: Lora = None,
    layers: Layers = 8,
    assistant_weight: AssistantWeight = -0.8,
    max_tokens: MaxTokens = None,
    chunk_tokens: Chunk = None,
    evaluated: Evaluated = 64,
    longest: Longest = 64,
    relearn_steps: RelearnSteps = 10,
    device: Device = None,
    dtype: Dtype = "float32",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Make a language model forget texts and keep others, and measure both.

    DIR gets the model (an adapter with --lora, an assistant with uld), a page, the figures and
    what is said before and after. A run that was killed goes on when it is started again.
    """
    from gradatim.workflows.unlearn import unlearn as unlearn_texts

    named = {path.stem: path for path in utility or ()}
    result = unlearn_texts(
        model,
        forget,
        retain,
        method=method,
        out=out,
        reference=reference,
        refusals=refusals,
        utility=named,
        unrelated=unrelated,
        question=question,
        answer=answer,
        text=text,
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        beta=beta,
        retain_weight=retain_weight,
        perplexity_growth=perplexity_growth,
        forget_target=forget_target,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
        precision=precision,
        lora=lora,
        layers=layers,
        assistant_weight=assistant_weight,
        max_tokens=max_tokens,
        chunk_tokens=chunk_tokens,
        evaluated=evaluated,
        longest=longest,
        relearn_steps=relearn_steps,
        device=device,
        dtype=dtype,
        seed=seed,
        progress=tell if sys.stderr.isatty() else None,
    )
    result.save(out, overwrite=True)
    present(result, out, as_json)


def tell(what: str, done: int, size: int) -> None:
    """A line of progress on the terminal, which the next one replaces."""
    typer.echo(f"\r{what}: {done:,} of {size:,}   ", err=True, nl=done >= size)


def present(result: "UnlearnResult", out: Path, as_json: bool) -> None:
    """Print what was done, figures before and after, and what is said."""
    from gradatim.cli.output import print_end, print_json, print_parts, print_wrapped
    from gradatim.workflows.unlearn_report import attack_rows, figure_rows, said_rows

    if as_json:
        print_json(record(result, out))
        return
    print_wrapped([result.sentence(), result.criterion])
    said = [
        (f"What is said: {name}", said_rows(rows, SHOWN, WIDEST))
        for name, rows in result.rows.groupby("set", sort=False)
    ]
    attack = attack_rows(result.figures)
    print_parts(
        [("Before and after", figure_rows(result.figures)), ("Relearning attack", attack), *said]
    )
    print_end(result.notes, out)


def record(result: "UnlearnResult", out: Path) -> dict[str, Any]:
    """The result as plain values."""
    import json

    tables = {
        name: json.loads(getattr(result, name).to_json(orient="records"))
        for name in ("figures", "curve", "rows")
    }
    return {
        "method": result.method,
        "source": result.source,
        "criterion": result.criterion,
        "reason": result.reason,
        "step": result.step,
        "steps": result.steps,
        "seconds": round(result.seconds, 3),
        "notes": list(result.notes),
        **tables,
        "written": str(out),
    }
