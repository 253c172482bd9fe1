"""Models that mining asks: sentence encoders, whose vectors are kept, and cross-encoders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gradatim.core.cache import model_hash
from gradatim.core.errors import InputError
from gradatim.core.lazy import require
from gradatim.core.vector_store import Progress, StoredVectors, VectorStore
from gradatim.language.sentence_encoder import locate_encoder

WHY = "to encode texts (or give query_vectors and document_vectors)"

Predict = Callable[[list[tuple[str, str]]], NDArray[np.float64]]


class MiningEncoder:
    """A sentence-transformers model with the prompts of queries and documents.

    Vectors have unit length. Without a prompt the model's own for queries and documents are used,
    if it has any.

    Args:
        model: a loaded model, a short name, or a directory.
        query_prompt: what stands before each query.
        document_prompt: what stands before each document.
        batch_size: texts at a time.
        device: where to compute; None for the model's own.

    Raises:
        InputError: no such model.
        MissingPackageError: sentence-transformers is not installed.
    """

    def __init__(
        self,
        model: Any,
        *,
        query_prompt: str | None = None,
        document_prompt: str | None = None,
        batch_size: int = 64,
        device: str | None = None,
    ) -> None:
        self.prompts = {"query": query_prompt, "document": document_prompt}
        self.batch_size = batch_size
        if isinstance(model, str | Path):
            folder = locate_encoder(model)
            self.name, self.identity = str(model), model_hash(folder)
            self.model = _load("SentenceTransformer", folder, device)
        elif hasattr(model, "encode_query") and hasattr(model, "encode_document"):
            self.model, self.name, self.identity = model, type(model).__name__, model_hash(model)
        else:
            raise InputError(
                "model: expected a directory, a short name or a SentenceTransformer, got "
                f"{type(model).__name__}"
            )

    def vectors(
        self, role: str, texts: pa.Array, store: VectorStore, dtype: Any, progress: Progress
    ) -> StoredVectors:
        """Vectors of queries or documents, from the store as far as they are there.

        Args:
            role: "query" or "document".
            texts: the texts.
            store: where vectors are kept.
            dtype: of the numbers that are kept.
            progress: called after each block.
        """
        prompt = self.prompts[role]
        encode = self.model.encode_query if role == "query" else self.model.encode_document

        def embed(part: list[str]) -> NDArray[Any]:
            found: NDArray[Any] = encode(
                part,
                prompt=prompt,
                batch_size=self.batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
            return found

        told = f"{role}: {prompt!r}"
        return store.get_or_encode(
            texts, embed, model=self.identity, prompt=told, dtype=dtype, progress=progress
        )


def cross_encoder_scores(model: Any, batch_size: int, device: str | None) -> Predict:
    """What a cross-encoder says of pairs of a query and a document.

    Args:
        model: a loaded ``sentence_transformers.CrossEncoder``, or the directory of one.
        batch_size: pairs at a time.
        device: where to compute.

    Raises:
        InputError: neither.
        MissingPackageError: sentence-transformers is not installed.
    """
    loaded = model
    if isinstance(model, str | Path):
        folder = Path(model)
        if not (folder / "config.json").is_file():
            raise InputError(
                f"cross_encoder: expected the directory of a cross-encoder, with a config.json, "
                f"got {str(model)!r}"
            )
        loaded = _load("CrossEncoder", folder, device)
    if not hasattr(loaded, "predict"):
        raise InputError(
            f"cross_encoder: expected a directory or a CrossEncoder, got {type(model).__name__}"
        )

    def predict(pairs: list[tuple[str, str]]) -> NDArray[np.float64]:
        if not pairs:
            return np.zeros(0)
        given = loaded.predict(
            pairs, batch_size=batch_size, convert_to_numpy=True, show_progress_bar=False
        )
        found = np.asarray(given, dtype=np.float64)
        if found.shape != (len(pairs),):
            raise InputError(
                f"cross_encoder: expected one score a pair, got shape {list(found.shape)} for "
                f"{len(pairs):,} pairs"
            )
        wrong = np.flatnonzero(~np.isfinite(found))
        if len(wrong):
            raise InputError(
                f"cross_encoder: expected finite scores, got {found[wrong[0]]} for the query "
                f"{pairs[wrong[0]][0]!r}"
            )
        return found

    return predict


def _load(kind: str, folder: Path, device: str | None) -> Any:
    """Load a model from a directory, without a progress bar."""
    package: Any = require("sentence_transformers", extra="retrieval", why=WHY)
    settings: Any = require("transformers.utils.logging", extra="retrieval")
    shown = settings.is_progress_bar_enabled()
    settings.disable_progress_bar()
    try:
        return getattr(package, kind)(str(folder), device=device, local_files_only=True)
    except Exception as error:  # files of all kinds are read, each with errors of its own
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{folder} cannot be loaded as a {kind} ({told})") from error
    finally:
        if shown:
            settings.enable_progress_bar()
