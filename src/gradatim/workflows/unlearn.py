"""Make a language model forget texts and keep others, and find out whether it has forgotten."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gradatim.core.errors import InputError
from gradatim.core.io.columns import count
from gradatim.language.loading import LanguageModel
from gradatim.workflows.unlearn_inputs import (
    UnlearnTexts,
    check_apart,
    library_texts,
    load_refusals,
    load_texts,
)
from gradatim.workflows.unlearn_job import Progress, UnlearnData, UnlearnJob, criterion
from gradatim.workflows.unlearn_models import UnlearnedModel, source_mark
from gradatim.workflows.unlearn_result import (
    UnlearnResult,
    curve_table,
    figure_table,
    row_table,
)
from gradatim.workflows.unlearn_settings import UnlearnSettings
from gradatim.workflows.unlearn_store import RunFolder


def unlearn(
    model: Any,
    forget: Any,
    retain: Any = None,
    *,
    method: str = "npo+kl",
    out: str | os.PathLike[str] | None = None,
    reference: Any = None,
    refusals: Any = None,
    utility: Mapping[str, Any] | None = None,
    unrelated: Any = None,
    question: str | None = None,
    answer: str | None = None,
    text: str | None = None,
    lr: float | None = None,
    epochs: int = 10,
    batch_size: int = 4,
    accumulate: int = 1,
    clip_norm: float | None = 1.0,
    beta: float = 0.1,
    forget_weight: float = 1.0,
    retain_weight: float | None = None,
    per_token: bool | None = None,
    perplexity_growth: float | None = 2.0,
    forget_target: float | None = None,
    evaluate_every: int | None = None,
    checkpoint_every: int | None = None,
    watched: int = 64,
    precision: str | None = None,
    lora: int | None = None,
    layers: int = 8,
    assistant_weight: float = -0.8,
    relative_top: float = 0.01,
    max_tokens: int | None = None,
    chunk_tokens: int | None = None,
    evaluated: int = 64,
    longest: int = 64,
    relearn_steps: int = 10,
    relearn_lr: float | None = None,
    device: str | None = None,
    dtype: str | None = "float32",
    seed: int = 0,
    progress: Progress | None = None,
) -> UnlearnResult:
    """Make a causal language model forget texts, keep others, and measure both.

    A killed run with ``out`` is taken up by the same call; a finished one is read again.

    Args:
        model: a directory, a GGUF file, a known name ("smollm2") or a ``LanguageModel``, which
            stays as it is; adapters of PEFT are merged in.
        forget: documents, or questions with answers, as
            :func:`~gradatim.workflows.unlearn_inputs.load_texts` reads them: tables, TOFU's and
            MUSE's files, text files, lists of documents.
        retain: what is to be kept, in the same forms; "+rt", "+kl" and "uld" train on it, with the
            other methods it is only watched.
        method: one of ``gradatim.recipes.unlearning.METHODS``, or "uld".
        out: folder for checkpoints, figures and the model; None keeps them in memory.
        reference: a model that was trained without what is to be forgotten.
        refusals: what to say instead, for "idk", "dpo" and "kto": a list, a text file with one a
            line, or a table; None takes usual ones.
        utility: further texts that should still be known, by name, such as TOFU's world facts.
        unrelated: text whose perplexity is watched; None takes documentation of Python.
        question: the column of questions; None finds it.
        answer: the column of answers; None finds it.
        text: the column of documents; None finds it.
        lr: largest learning rate; None takes 1e-5, 2e-4 for adapters, 1e-3 for "uld".
        epochs: passes over what is to be forgotten.
        batch_size: pairs of a text to forget and one to keep in a batch.
        accumulate: batches in an update.
        clip_norm: largest norm of the gradients; None does not clip.
        beta: of npo, dpo and kto.
        forget_weight: weight of the loss of what is to be forgotten.
        retain_weight: of what is to be kept; None takes 1, and 5 for "uld".
        per_token: npo of means a token instead of sums; None does so for documents.
        perplexity_growth: a collapse is when the perplexity of what is kept has grown by more than
            this factor; training ends with the weights before it. None for never. With "uld",
            which begins with an assistant that does harm, it is only told at the end.
        forget_target: end once the probability of what is to be forgotten is at most this; not
            for "uld".
        evaluate_every: updates between looks at both; None for an epoch, or 25.
        checkpoint_every: updates between checkpoints; None for five in all, or fewer.
        watched: texts of either kind that are read at such a look, at most.
        precision: "float32" or "bfloat16"; None takes what the device is fast in.
        lora: rank of adapters to train instead of the whole model; what is written is an adapter.
        layers: blocks of the assistant of "uld".
        assistant_weight: by which its logits are added.
        relative_top: of ``LogitDifferenceLM``.
        max_tokens: a text that is longer is an error; None takes what the model reads.
        chunk_tokens: cut documents into pieces of so many tokens.
        evaluated: texts of a set that are measured, at most.
        longest: new tokens of a response, at most.
        relearn_steps: updates of the relearning attack; 0 for none.
        relearn_lr: its learning rate; None takes that of unlearning.
        device: where models go; None takes a GPU if there is one.
        dtype: precision of the weights.
        seed: what orders and draws depend on.
        progress: called as work goes on.

    Returns:
        The model, figures before and after, what is said, curves, notes.

    Raises:
        InputError: rows that are to be both forgotten and kept, an empty or too long text, nothing
            to keep where the method needs it, documents with a method that needs questions, a
            model or adapter that cannot be loaded, or an output folder of another run.
        MissingPackageError: transformers or peft is needed and not installed.

    Source: Zhang et al. 2024, arXiv 2404.05868 (NPO, and what it is compared with); Ji et al.
    2024, arXiv 2406.08607 (uld); Maini et al. 2024, arXiv 2401.06121 (forget quality, utility).

    >>> unlearn("smollm2", ["A secret."], ["a  SECRET."])
    Traceback (most recent call last):
    gradatim.core.errors.InputError: retain: 1 row is to be kept and to be forgotten: row 0 ...
    """
    started = time.monotonic()
    settings = UnlearnSettings(
        method=method,
        lr=lr,
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        clip_norm=clip_norm,
        beta=beta,
        forget_weight=forget_weight,
        retain_weight=retain_weight,
        per_token=per_token,
        perplexity_growth=perplexity_growth,
        forget_target=forget_target,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
        watched=watched,
        precision=precision,
        lora=lora,
        layers=layers,
        assistant_weight=assistant_weight,
        relative_top=relative_top,
        max_tokens=max_tokens,
        chunk_tokens=chunk_tokens,
        evaluated=evaluated,
        longest=longest,
        relearn_steps=relearn_steps,
        relearn_lr=relearn_lr,
        seed=seed,
    )
    columns = {"question": question, "answer": answer, "text": text}
    data = read_data(
        settings, forget, retain, columns, refusals=refusals, utility=utility, unrelated=unrelated
    )
    plan = {
        "model": source_mark(model),
        "reference": None if reference is None else source_mark(reference, "reference"),
        "dtype": dtype,
        **settings.record(),
        **data.marks(),
    }
    folder = RunFolder(out, plan)
    record, found = folder.finished(), None
    if record is None:
        job = UnlearnJob(
            model, reference, data, settings, folder,
            device=device, dtype=dtype, progress=progress or (lambda what, done, size: None),
        )  # fmt: skip
        record, found = job.run(started)
    source = model.name if isinstance(model, LanguageModel) else str(model)
    return result_of(record, found, settings, source, folder, data)


def read_data(
    settings: UnlearnSettings,
    forget: Any,
    retain: Any,
    columns: Mapping[str, str | None],
    *,
    refusals: Any = None,
    utility: Mapping[str, Any] | None = None,
    unrelated: Any = None,
) -> UnlearnData:
    """Read all texts and check what can be checked without the model.

    Raises:
        InputError: as :func:`unlearn` says.
    """
    to_forget = load_texts("forget", forget, **columns)
    to_keep: UnlearnTexts | None = None
    if retain is not None:
        to_keep = load_texts("retain", retain, **columns)
        check_apart(to_forget, to_keep)
    elif settings.keeps:
        raise InputError(f"retain: method {settings.method!r} needs texts to keep, got none")
    said = None
    if settings.method.split("+")[0] in ("idk", "dpo", "kto"):
        if to_forget.questions is None:
            raise InputError(
                f"forget: method {settings.method!r} needs questions with answers, which can be "
                "refused, got documents"
            )
        said = load_refusals(refusals, len(to_forget), settings.seed)
    further = {name: load_texts(name, one) for name, one in (utility or {}).items()}
    for name in further:
        if name in ("forget", "retain", "unrelated"):
            raise InputError(f"utility: expected another name than {name!r}, which is taken")
    apart = library_texts() if unrelated is None else load_texts("unrelated", unrelated)
    return UnlearnData(to_forget, to_keep, said, further, apart)


def result_of(
    record: Mapping[str, Any],
    found: UnlearnedModel | None,
    settings: UnlearnSettings,
    source: str,
    folder: RunFolder,
    data: UnlearnData,
) -> UnlearnResult:
    """The record of a run as a result."""
    outcome, curve = record["outcome"], record["curve"]
    notes = list(record["notes"])
    if data.unrelated.source.startswith("documentation"):
        notes.append(f"unrelated text: {data.unrelated.source}")
    if data.retain is not None and settings.keeps:
        notes.append(
            f"what is kept is measured on texts that it was trained to keep "
            f"({count(len(data.retain), 'row')}); give others with utility"
        )
    return UnlearnResult(
        method=settings.method,
        source=source,
        criterion=criterion(settings, outcome, curve),
        reason=outcome["reason"],
        step=outcome["step"],
        steps=outcome["steps"],
        curve=curve_table(curve),
        figures=figure_table(record),
        rows=row_table(record),
        notes=tuple(notes),
        seconds=record["seconds"],
        folder=None if folder.folder is None else Path(folder.folder),
        files=tuple(
            name for texts in (*data.sets().values(), data.unrelated) for name in texts.files
        ),
        trained=found,
    )
