"""Adapters on disk: written with a mark of their base model, and put on that model alone."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gradatim.core.errors import InputError
from gradatim.core.files import atomic_directory
from gradatim.core.lazy import require
from gradatim.language.adapters import with_adapters
from gradatim.language.loading import LanguageModel
from gradatim.language.transformers_lm import TransformersLM

BASE_RECORD = "base_model.json"
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_MARKS, _TOLERANCE = 64, 0.01


def save_adapter(adapted: LanguageModel, folder: str | os.PathLike[str]) -> Path:
    """Write the adapters of a model as peft does, with its tokenizer and a mark of the base model.

    The folder is replaced as a whole, or not at all.

    Args:
        adapted: a model with adapters: ``LanguageModel(add_lora(base.model), base.tokenizer,
            base.name)``; its name is kept as that of the base model.
        folder: where to.

    Returns:
        The folder; :func:`load_adapter` reads it, and so do peft, and
        :func:`~gradatim.language.loading.load_language_model` where the name of the base model
        tells where that is.

    Raises:
        InputError: a model without adapters.
        StorageError: it cannot be written.

    >>> import tempfile
    >>> from transformers import LlamaConfig, LlamaForCausalLM
    >>> from gradatim.language.adapters import add_lora
    >>> config = LlamaConfig(vocab_size=11, hidden_size=8, intermediate_size=8,
    ...     num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=32)
    >>> adapted = LanguageModel(add_lora(TransformersLM(LlamaForCausalLM(config))), None, "tiny")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sorted(file.name for file in save_adapter(adapted, Path(folder) / "a").iterdir())
    ['README.md', 'adapter_config.json', 'adapter_model.safetensors', 'base_model.json']
    """
    wrapper: Any = adapted.model.model
    if not hasattr(wrapper, "peft_config"):
        raise InputError("adapted: expected a model with adapters, got one without")
    path = Path(folder)
    record = {"base": adapted.name, "mark": base_mark(adapted.model)}
    for config in wrapper.peft_config.values():
        config.base_model_name_or_path = adapted.name
    with atomic_directory(path) as temporary:
        wrapper.save_pretrained(temporary, save_embedding_layers=False)  # else peft asks the hub
        if adapted.tokenizer is not None:
            adapted.tokenizer.save_pretrained(temporary)
        (temporary / BASE_RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")
    return path


def load_adapter(
    base: LanguageModel, folder: str | os.PathLike[str], *, trainable: bool = False
) -> LanguageModel:
    """Put adapters from disk on their base model, whose layers are wrapped in place.

    The base model may be in another precision than it was, or quantized.

    Args:
        base: the base model.
        folder: what :func:`save_adapter`, peft or TRL has written.
        trainable: whether the adapters are to be trained further.

    Returns:
        The model with adapters, in evaluation mode, with the tokenizer of the base model.

    Raises:
        InputError: no adapters there, adapters in a pickle file, adapters for another base (they
            do not fit its layers, or the base model's embeddings are not those of the mark), or a
            base model with adapters of its own.
        MissingPackageError: peft is not installed.

    >>> load_adapter(None, "nowhere")
    Traceback (most recent call last):
    gradatim.core.errors.InputError: folder: no adapters (adapter_config.json) stand in nowhere
    """
    path = Path(folder)
    if not (path / _CONFIG).is_file():
        raise InputError(f"folder: no adapters ({_CONFIG}) stand in {path}")
    if not (path / _WEIGHTS).is_file():
        raise InputError(f"folder: no weights of adapters ({_WEIGHTS}) stand in {path}")
    if hasattr(base.model.model, "peft_config"):
        raise InputError("base: expected a model without adapters; merge or unload its own first")
    _check_mark(base, path)
    peft = require("peft", extra="llm", why="for low-rank adapters")
    config = peft.PeftConfig.from_pretrained(str(path))
    config.inference_mode = not trainable
    config.base_model_name_or_path = base.model.model.name_or_path or None
    tensors = require("safetensors.torch").load_file(str(path / _WEIGHTS))
    flags = [(weight, weight.requires_grad) for weight in base.model.parameters()]
    wrapper: Any = None
    try:
        wrapper = with_adapters(base.model.model, config)
        _check_complete(
            peft.get_peft_model_state_dict(wrapper, save_embedding_layers=False), tensors
        )
    except InputError as error:
        if wrapper is not None:
            wrapper.unload()
        for weight, wanted in flags:
            weight.requires_grad_(wanted)
        raise InputError(
            f"folder: the adapters in {path} are for another base than {base.name} ({error})"
        ) from error
    peft.set_peft_model_state_dict(wrapper, tensors)
    return LanguageModel(TransformersLM(wrapper.eval()), base.tokenizer, base.name)


def base_mark(model: TransformersLM) -> list[float]:
    """Numbers of a base model by which it is known again, in another precision or quantized too.

    Args:
        model: the model, with or without adapters.

    Returns:
        64 numbers of its input embeddings, from all over the table.
    """
    weight = model.inner.get_input_embeddings().weight
    places = torch.arange(_MARKS) * weight.numel() // _MARKS
    numbers: list[float] = weight.detach().flatten()[places.to(weight.device)].float().tolist()
    return numbers


def _check_mark(base: LanguageModel, folder: Path) -> None:
    """Compare the base model with the one that the adapters were made on, as far as it is known."""
    if not (folder / BASE_RECORD).is_file():
        return
    try:
        record = json.loads((folder / BASE_RECORD).read_text(encoding="utf-8"))
        name, then = str(record["base"]), torch.tensor(record["mark"], dtype=torch.float32)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"folder: {folder / BASE_RECORD} is not what was written") from error
    now = torch.tensor(base_mark(base.model))
    if then.shape != now.shape or not torch.allclose(then, now, rtol=_TOLERANCE, atol=1e-6):
        raise InputError(
            f"folder: the adapters in {folder} are for another base than {base.name}: they were "
            f"made on {name}, whose embeddings differ"
        )


def _check_complete(wanted: Mapping[str, torch.Tensor], there: Mapping[str, torch.Tensor]) -> None:
    """Check that the file holds just the adapters that the model has by their configuration."""
    for name in sorted(wanted.keys() | there.keys()):
        sizes = [list(some[name].shape) if name in some else "none" for some in (wanted, there)]
        if sizes[0] != sizes[1]:
            raise InputError(f"weights: expected {name} of shape {sizes[0]}, got {sizes[1]}")
