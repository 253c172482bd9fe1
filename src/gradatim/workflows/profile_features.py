"""Features of the rows that are profiled: encoders for text, a preprocessor for other columns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.workflows.profile_inputs import ProfileTable

MOST_WORDS = 20_000
MOST_CATEGORIES = 100
_LATENT = 128

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Features:
    """What models are trained on.

    Attributes:
        matrix: an array or a sparse matrix, shape [N, D]; of questions an array of shape
            [N, A, D]; or the columns themselves, as a data frame.
        zero_shot: class (or option) that each row has without any training, shape [N], or None.
        baseline: what the unsupervised prediction is, in words.
        names: what went into them, in words.
        notes: what was left out.
    """

    matrix: Any
    zero_shot: NDArray[np.int64] | None
    baseline: str
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()


def encoding_cost(table: ProfileTable, encoder: str | Path | None) -> str | None:
    """What encoding costs, in words; None if nothing is to be encoded by a sentence encoder."""
    texts = table.texts()
    if texts is None or encoder in (None, "tfidf"):
        return None
    number = len(set(texts))
    if table.options is not None:
        number = len({*texts, *(one for own in table.options for one in own)})
        number += sum(map(len, table.options))
    return f"up to {number:,} texts through the encoder {encoder!s} (kept for the next time)"


def check_features(table: ProfileTable, encoder: str | Path | None, *, raw: bool) -> None:
    """Check what :func:`build_features` needs before anything is computed.

    Raises:
        InputError: nothing that features could be made of, or no such encoder.
        MissingPackageError: the package of the encoder is not installed.
    """
    has_text = table.texts() is not None
    if table.options is not None and (not has_text or encoder is None):
        what = "an encoder, got none" if has_text else "a text column with the questions"
        raise InputError(f"options: expected {what}")
    if set(table.kinds.values()) <= {"text"} and encoder is None and not raw:
        raise InputError(
            "encoder: expected one for the text columns, got none, and there are no other inputs; "
            "encoder='tfidf' needs no package"
        )
    if has_text and encoder not in (None, "tfidf"):
        from gradatim.language.sentence_encoder import locate_encoder

        locate_encoder(encoder)


def build_features(table: ProfileTable, encoder: str | Path | None, *, raw: bool) -> Features:
    """Turn inputs that passed :func:`check_features` into features. No label enters them.

    Args:
        table: the rows.
        encoder: "minilm", "tfidf", the directory of a sentence encoder, or None to leave text out.
        raw: with ``encoder=None``, hand over the columns as they are, for an estimator that
            prepares them itself.

    Raises:
        InputError: texts without any word, for "tfidf".
    """
    if table.options is not None:
        return _option_features(table, encoder)
    if encoder is None and raw:
        return Features(table.frame, None, "the most frequent class", ("the columns as they are",))
    blocks, names = [], []
    if columns := [name for name, kind in table.kinds.items() if kind != "text"]:
        blocks.append(_column_features(table))
        names.append(f"{len(columns)} columns of numbers and categories")
    texts = table.texts()
    zero_shot, baseline = None, "the most frequent class"
    if texts is not None and encoder is not None:
        names.append(f"text by {encoder}")
        if encoder == "tfidf":
            blocks.append(_tfidf(texts, table.trained))
        else:
            encode = _encoder(encoder)
            embedded = encode(texts)
            blocks.append(embedded)
            if all(_is_word(name) for name in table.classes):
                words = encode([str(name).replace("_", " ") for name in table.classes])
                zero_shot = np.asarray((embedded @ words.T).argmax(axis=1), dtype=np.int64)
                baseline = "the class whose name is nearest to the text (zero-shot)"
    left_out = texts is not None and encoder is None
    notes = ("text columns are left out, since there is no encoder",) if left_out else ()
    return Features(_joined(blocks), zero_shot, baseline, tuple(names), notes)


def _is_word(name: Any) -> bool:
    """Whether a class has a name that can be compared with a text, not a number or a letter."""
    return isinstance(name, str) and sum(map(str.isalpha, name)) > 2


def _joined(blocks: Sequence[Any]) -> Any:
    if any(hasattr(block, "tocsr") for block in blocks):
        from scipy import sparse

        return sparse.hstack([sparse.csr_matrix(block) for block in blocks], format="csr")
    return np.hstack(blocks)


def _column_features(table: ProfileTable) -> Any:
    """Numbers imputed and standardized, categories as indicators; fitted on the table itself."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    by_kind: dict[str, list[str]] = {"number": [], "category": []}
    for name, kind in table.kinds.items():
        if kind != "text":
            by_kind[kind].append(name)
    numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler(),
    )
    categories = OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=MOST_CATEGORIES,
        sparse_output=False,
        dtype=np.float32,
    )
    transformer = ColumnTransformer(
        [("numbers", numbers, by_kind["number"]), ("categories", categories, by_kind["category"])]
    )
    transformer.fit(table.frame.iloc[: table.trained])
    return np.asarray(transformer.transform(table.frame), dtype=np.float32)


def _tfidf(texts: Sequence[str], trained: int) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        sublinear_tf=True, max_features=MOST_WORDS, dtype=np.float32, ngram_range=(1, 2)
    )
    try:
        vectorizer.fit(texts[:trained])
    except ValueError as error:
        raise InputError(f"encoder: tfidf found no words in the text columns ({error})") from error
    return vectorizer.transform(texts)


def _encoder(encoder: str | Path) -> Encode:
    from gradatim.language.sentence_encoder import embed_texts

    return lambda texts: embed_texts(texts, encoder)


def _latent(table: ProfileTable, texts: Sequence[str]) -> Encode:
    """Latent dimensions of tf-idf, fitted on the table's own questions and their options."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    assert table.options is not None
    known = [
        f"{text} {' '.join(own)}"
        for text, own in zip(texts[: table.trained], table.options[: table.trained], strict=True)
    ]
    words = TfidfVectorizer(sublinear_tf=True, max_features=MOST_WORDS).fit(known)
    most = min(_LATENT, len(known) - 1, len(words.vocabulary_) - 1)
    pipeline = make_pipeline(
        words, TruncatedSVD(max(1, most), random_state=0), Normalizer(copy=False)
    ).fit(known)
    return lambda some: np.asarray(pipeline.transform(list(some)), dtype=np.float32)


def _option_features(table: ProfileTable, encoder: str | Path | None) -> Features:
    """Of each option: the question with the option, and the product of both, encoded."""
    texts = table.texts()
    assert table.options is not None
    assert texts is not None and encoder is not None
    encode = _latent(table, texts) if encoder == "tfidf" else _encoder(encoder)
    sizes = table.choices
    flat = [one for own in table.options for one in own]
    row = np.repeat(np.arange(len(texts)), sizes)
    column = np.concatenate([np.arange(size) for size in sizes])
    asked, offered = encode(texts), encode(flat)
    pairs = encode([f"{texts[place]} {one}" for place, one in zip(row, flat, strict=True)])
    product = asked[row] * offered
    width = pairs.shape[1] + product.shape[1]
    matrix = np.zeros((len(texts), int(sizes.max()), width), dtype=np.float32)
    matrix[row, column] = np.hstack([pairs, product * np.sqrt(product.shape[1])])
    near = np.full(matrix.shape[:2], -np.inf)
    near[row, column] = product.sum(axis=1)
    baseline = "the option nearest to the question (zero-shot)"
    names = (f"question-option pairs by {encoder}",)
    return Features(matrix, near.argmax(axis=1).astype(np.int64), baseline, names)
