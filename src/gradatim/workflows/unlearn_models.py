"""Models that are to forget, and models that have forgotten: loaded, written, asked."""

import copy
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from gradatim.core.cache import model_hash
from gradatim.core.checks import check_range
from gradatim.core.errors import InputError, StorageError
from gradatim.core.files import atomic_directory, atomic_write
from gradatim.core.lazy import require
from gradatim.core.precision import precision_name
from gradatim.language.causal_lm import CausalLM
from gradatim.language.loading import LanguageModel, load_language_model
from gradatim.language.logit_difference import LogitDifferenceLM
from gradatim.language.sampling import sample
from gradatim.language.transformers_lm import TransformersLM
from gradatim.workflows.unlearn_encoding import TextEncoder, Tokens

RECORD = "unlearned.json"
WHOLE, ADAPTER, DIFFERENCE = "model", "adapter", "assistant"
"""What was written, and the folder that it stands in."""

_MARKS, _MARK_TOLERANCE = 64, 0.01


@dataclass(frozen=True)
class UnlearnedModel:
    """A model that has forgotten, with its tokenizer.

    Attributes:
        model: the model; with "uld" a
            :class:`~gradatim.language.logit_difference.LogitDifferenceLM`.
        tokenizer: what turns text into its tokens.
        stop: tokens that end a response.
        kind: "model", "adapter" (of PEFT, on the base model) or "assistant" (with the base model).
        base: what the model before was loaded from.
    """

    model: CausalLM
    tokenizer: Any
    stop: tuple[int, ...]
    kind: str
    base: str

    @cached_property
    def encoder(self) -> TextEncoder:
        """What turns questions and documents into tokens."""
        return TextEncoder(self.tokenizer, self.stop, limit=self.model.context_length)

    def generate(
        self, prompts: Sequence[str], *, longest: int = 64, raw: bool = False
    ) -> list[str]:
        """The likeliest answer to each question, token by token.

        Args:
            prompts: questions; or beginnings of texts.
            longest: new tokens at most.
            raw: go on with the texts as they stand, instead of answering questions.
        """
        read = self.encoder.document if raw else self.encoder.question
        found = greedy(self.model, [read(one) for one in prompts], longest, self.stop)
        return [self.encoder.decode(one) for one in found]


def greedy(
    model: CausalLM, prompts: Sequence[Tokens], longest: int, stop: Sequence[int]
) -> list[Tokens]:
    """The likeliest continuation of each prompt, without its end.

    Prompts so long that less than ``longest`` fits behind them get what does.

    Raises:
        InputError: ``longest`` below 1, or a prompt that fills the whole context.
    """
    check_range("longest", longest, 1)
    length = model.context_length
    room = [longest if length is None else min(longest, length - len(one)) for one in prompts]
    found: list[Tokens] = [[] for _ in prompts]
    was_training = model.training
    model.eval()
    try:
        for size in sorted({one for one in room if one > 0}):
            rows = [row for row, one in enumerate(room) if one == size]
            responses = sample(
                model, [prompts[row] for row in rows],
                longest=size, stop=stop, temperature=0, batch_rows=32,
            )  # fmt: skip
            for row, tokens in zip(rows, responses.lists(), strict=True):
                found[row] = tokens[:-1] if tokens and tokens[-1] in stop else tokens
    finally:
        model.train(was_training)
    return found


def load_model(
    source: Any,
    *,
    dtype: torch.dtype | str | None = torch.float32,
    device: torch.device | str | None = None,
    name: str = "model",
) -> LanguageModel:
    """Load a model to change: a directory, a GGUF file, a known name, or a copy of a loaded one.

    Adapters of PEFT are merged into their base model, which must be the one they were made for.

    Raises:
        InputError: as :func:`~gradatim.language.loading.load_language_model` says, or an adapter
            that does not fit its base model.
    """
    if isinstance(source, LanguageModel):
        model = copy.deepcopy(source.model)
        if _adapted(model):
            model = _merge(model)
        if dtype is not None:
            model = model.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype)
        if device is not None:
            model = model.to(device)
        return LanguageModel(model.eval(), source.tokenizer, source.name)
    config = Path(source) / "adapter_config.json"
    if not config.is_file():
        return load_language_model(Path(source) if Path(source).exists() else str(source),
                                   dtype=dtype, device=device)  # fmt: skip
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise InputError(f"{config}: does not say which model the adapter is for")
    loaded = load_language_model(base, dtype=dtype, device=device)
    adapted = with_adapter(loaded, Path(source), name)
    return LanguageModel(_merge(adapted.model).eval(), adapted.tokenizer, str(source))


def with_adapter(base: LanguageModel, folder: Path, name: str = "model") -> LanguageModel:
    """Put a written adapter on its base model.

    Raises:
        InputError: the adapter is for another base.
    """
    peft = require("peft", extra="llm", why="for low-rank adapters")
    try:
        adapted = peft.PeftModel.from_pretrained(base.model.inner, str(folder))
    except (RuntimeError, ValueError, KeyError) as error:
        told = " ".join(str(error).split())[:200]
        raise InputError(
            f"{name}: the adapter in {folder} is for another base than {base.name} ({told})"
        ) from error
    return LanguageModel(TransformersLM(adapted.eval()), base.tokenizer, base.name)


def source_mark(source: Any, name: str = "model") -> str:
    """A hash of a model: of the files it is loaded from, or of its weights.

    Raises:
        InputError: it is nothing that a model can be loaded from.
    """
    if not isinstance(source, str | os.PathLike | LanguageModel):
        raise InputError(
            f"{name}: expected a directory, a GGUF file, a name or a LanguageModel, "
            f"got {type(source).__name__}"
        )
    if isinstance(source, LanguageModel):
        return model_hash(source.model)
    return model_hash(Path(source) if Path(source).exists() else str(source))


def base_name(source: Any) -> str:
    """What a base model is loaded from again: an absolute path, or a name."""
    if isinstance(source, LanguageModel):
        return source.name
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else str(source)


def ready_tokenizer(tokenizer: Any) -> tuple[Any, str | None]:
    """A tokenizer that can pad; one without a token for it takes that which ends a text.

    Returns:
        A copy, and a note if something was missing.
    """
    if getattr(tokenizer, "pad_token_id", None) is not None:
        return tokenizer, None
    ready = copy.deepcopy(tokenizer)
    end = getattr(tokenizer, "eos_token", None)
    if end is None:
        return ready, "the tokenizer has no token to pad with, and none that ends a text"
    ready.pad_token = end
    return ready, f"the tokenizer has no token to pad with: {end!r}, its end of text, is written"


def save_unlearned(found: UnlearnedModel, folder: Path) -> Path:
    """Write a model, an adapter, or an assistant with what its base model is.

    Returns:
        The folder of the model inside.

    Raises:
        StorageError: it cannot be written.
    """
    target = folder / found.kind
    model = found.model
    record: dict[str, Any] = {
        "format": 1,
        "kind": found.kind,
        "base": found.base,
        "dtype": precision_name(next(model.parameters()).dtype),
    }
    if isinstance(model, LogitDifferenceLM):
        record |= {
            "weight": model.weight,
            "relative_top": model.relative_top,
            "center": model.center,
            "mark": _mark(model.base),
        }
        assert isinstance(model.assistant, TransformersLM)
        assistant = model.assistant
        written: Any = assistant.model
        if _adapted(assistant):  # merged in a copy: the given one stays as it is
            written = _merge(copy.deepcopy(assistant)).model
    else:
        assert isinstance(model, TransformersLM)
        written = model.model
        if found.kind == ADAPTER:
            record["mark"] = _mark(model)
            for config in written.peft_config.values():
                config.base_model_name_or_path = found.base
    with atomic_directory(target) as temporary, _quiet():
        written.save_pretrained(temporary)
        found.tokenizer.save_pretrained(temporary)
    with atomic_write(folder / RECORD) as stream:
        json.dump(record, stream, indent=1)
    return target


def load_unlearned(
    folder: str | os.PathLike[str],
    *,
    base: Any = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
) -> UnlearnedModel:
    """Load what :func:`gradatim.workflows.unlearn.unlearn` has written.

    Args:
        folder: the output folder.
        base: the model before, for adapters and assistants; None loads it from where it was.
        dtype: precision of the weights; None takes that of the run.
        device: where the model goes; None takes a GPU if there is one.

    Returns:
        The model that has forgotten; its ``generate`` answers questions, with an assistant by both
        models together.

    Raises:
        InputError: no such output, or a base model that is another one than that of the run.
    """
    path = Path(folder) / RECORD
    if not path.is_file():
        raise InputError(f"{folder}: expected a folder that unlearning has written, got another")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kind, name = record["kind"], record["base"]
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{path}: is damaged") from error
    inside = Path(folder) / kind
    options: dict[str, Any] = {"dtype": dtype or record["dtype"], "device": device}
    if kind == WHOLE:
        found = load_language_model(inside, **options)
        return UnlearnedModel(found.model, found.tokenizer, found.stop, kind, name)
    before = load_model(name if base is None else base, **options, name="base")
    _check_mark(record["mark"], before, folder)
    if kind == ADAPTER:
        found = with_adapter(before, inside, "base")
        return UnlearnedModel(found.model, found.tokenizer, found.stop, kind, name)
    assistant = load_language_model(inside, **options)
    both = LogitDifferenceLM(
        before.model, assistant.model,
        weight=record["weight"], relative_top=record["relative_top"], center=record["center"],
    )  # fmt: skip
    return UnlearnedModel(both.eval(), before.tokenizer, before.stop, kind, name)


def _adapted(model: TransformersLM) -> bool:
    """Whether a model has adapters of PEFT around it."""
    return hasattr(model.model, "merge_and_unload")


def _merge(model: TransformersLM) -> TransformersLM:
    """A model with its adapters merged into its weights, all of which can be trained."""
    adapted: Any = model.model
    return TransformersLM(adapted.merge_and_unload().requires_grad_(True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bars of transformers."""
    logging = require("transformers.utils.logging")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@torch.no_grad()
def _mark(model: CausalLM) -> list[float]:
    """Some weights of a base model, by which it is known again in another precision."""
    assert isinstance(model, TransformersLM)
    weight = model.inner.get_input_embeddings().weight
    places = torch.arange(_MARKS) * weight.numel() // _MARKS
    return [float(one) for one in weight.flatten()[places.to(weight.device)].float().tolist()]


def _check_mark(expected: list[float], base: LanguageModel, folder: Any) -> None:
    then, now = torch.tensor(expected), torch.tensor(_mark(base.model))
    if not torch.allclose(then, now, rtol=_MARK_TOLERANCE, atol=1e-6):
        raise InputError(
            f"base: what {folder} holds was made for another base than {base.name}; its weights "
            "differ"
        )
