"""InfoNCE for sentence-transformers: very large batches, curricula of weights, false negatives."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from gradatim.core.checks import check_choice, check_range
from gradatim.core.errors import InputError
from gradatim.objectives.contrastive import WeightRule, info_nce
from gradatim.objectives.contrastive_blocks import blockwise_info_nce
from gradatim.objectives.contrastive_inputs import check_temperature
from gradatim.recipes.gradient_cache import embed_in_chunks

Progressive = Callable[[torch.Tensor, torch.Tensor, float, torch.Tensor], torch.Tensor]
Features = Mapping[str, Any]
SAME = ("text", "label")
IN_BLOCKS_FROM = 4096**2


class InfoNCELoss(torch.nn.Module):
    """InfoNCE among the texts of a batch, for ``SentenceTransformerTrainer``.

    Columns are anchor, positive and any number of hard negatives; all positives and negatives of
    the batch are candidates of every anchor. With its defaults it is sentence-transformers'
    ``MultipleNegativesRankingLoss`` with ``scale = 1 / temperature``, and with ``symmetric`` that
    with ``directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"``. From
    4,096 x 4,096 similarities on they are not kept, but computed by blocks. For batches whose
    activations do not fit either see :class:`CachedInfoNCELoss`. Under several processes each has
    the negatives of its own batch.

    Args:
        model: the ``SentenceTransformer``.
        temperature: tau, or a function of training progress in [0, 1] that gives it, such as a
            :class:`~gradatim.curriculum.temperature.TemperatureSchedule`.
        normalize: whether similarities are cosines, not dot products.
        symmetric: whether positives look for their anchors, too.
        negative_weights: a function of detached similarities [B, C], those of the positives [B],
            progress, and a mask [B, C] of what are negatives, that gives weights [B, C], such as
            :class:`~gradatim.curriculum.negative_weights.ProgressiveNegativeWeights` with its
            rule "exponential". By blocks it meets some of the queries at a time.
        same: leave out false negatives: "text", candidates whose tokens are those of the positive,
            and positives of anchors with the same tokens; "label", positives of rows with an equal
            label; None for neither.
        blockwise: whether similarities are computed by blocks; None where there are many.

    Raises:
        InputError: a temperature that is not above 0, or an unknown way to be the same.

    Source: van den Oord et al. 2018, arXiv 1807.03748; weights by progress: Wu et al. 2023, arXiv
    2311.11691.
    """

    def __init__(
        self,
        model: Any,
        *,
        temperature: float | Callable[[float], float] = 0.05,
        normalize: bool = True,
        symmetric: bool = False,
        negative_weights: Progressive | None = None,
        same: str | None = None,
        blockwise: bool | None = None,
    ) -> None:
        super().__init__()
        if not callable(temperature):
            check_temperature(temperature)
        if same is not None:
            check_choice("same", same, SAME)
        self.model = model
        self.temperature, self.negative_weights = temperature, negative_weights
        self.normalize, self.symmetric = normalize, symmetric
        self.same, self.blockwise = same, blockwise
        self.trainer: Any = None

    def follow(self, trainer: Any) -> None:
        """Take progress from a trainer: the share of its updates that are done.

        A resumed run goes on where it stood, since nothing but the trainer's own count is read.
        """
        self.trainer = trainer

    @property
    def progress(self) -> float:
        """Share of the updates that are done, in [0, 1].

        Raises:
            InputError: no trainer is followed.
        """
        if self.trainer is None:
            raise InputError("loss: expected loss.follow(trainer) before it depends on progress")
        state = self.trainer.state
        return float(min(state.global_step / max(state.max_steps, 1), 1.0))

    def forward(
        self, sentence_features: Iterable[Features], labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """The mean loss of a batch.

        Args:
            sentence_features: tokens of anchors, positives and negatives, one mapping a column.
            labels: of the rows, shape [B]; needed for ``same="label"``.

        Raises:
            InputError: fewer than two columns, or labels that are needed and are not there.
        """
        columns = list(sentence_features)
        if len(columns) < 2:
            raise InputError(f"columns: expected anchor and positive, got {len(columns)}")
        query, positive, *negatives = (self.embed(column) for column in columns)
        rest = torch.cat(negatives) if negatives else None
        count = len(positive) * (len(columns) - 1)
        pairs = self._false_negatives(columns, labels, len(query))
        options: dict[str, Any] = {
            "negatives": rest,
            "temperature": self._temperature(),
            "normalize": self.normalize,
            "symmetric": self.symmetric,
            "negative_weights": self._weights(),
            "require_negatives": False,
        }
        in_blocks = self.blockwise
        if in_blocks is None:
            in_blocks = len(query) * count >= IN_BLOCKS_FROM
        if in_blocks:
            return blockwise_info_nce(query, positive, excluded_pairs=pairs, **options)
        mask = None
        if pairs is not None:
            mask = torch.ones(len(query), count, dtype=torch.bool, device=query.device)
            mask[tuple(pairs.T)] = False
        return info_nce(query, positive, negative_mask=mask, **options)

    def embed(self, features: Features) -> torch.Tensor:
        """Embeddings of one column, shape [B, D]."""
        embeddings: torch.Tensor = self.model(dict(features))["sentence_embedding"]
        return embeddings

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card says of the loss."""
        return {
            "temperature": _told(self.temperature),
            "normalize": self.normalize,
            "symmetric": self.symmetric,
            "negative_weights": _told(self.negative_weights),
            "same": self.same,
        }

    def _temperature(self) -> float:
        if callable(self.temperature):
            return self.temperature(self.progress)
        return self.temperature

    def _weights(self) -> WeightRule | None:
        rule = self.negative_weights
        if rule is None:
            return None
        progress = self.progress
        return lambda similarity, own, used: rule(similarity, own, progress, used)

    def _false_negatives(
        self, columns: list[Features], labels: torch.Tensor | None, size: int
    ) -> torch.Tensor | None:
        """Pairs (anchor, candidate) that are no negatives, shape [E, 2]."""
        if self.same is None:
            return None
        if self.same == "label":
            if labels is None or labels.shape != (size,):
                raise InputError('labels: expected one a row for same="label"')
            return _equal_pairs(labels.tolist(), [labels.tolist()], labels.device)
        texts = [_texts(column) for column in columns]
        device = columns[0]["input_ids"].device
        of_positives = _equal_pairs(texts[1], texts[1:], device)
        of_anchors = _equal_pairs(texts[0], [texts[0]], device)
        return torch.cat([of_positives, of_anchors])


class CachedInfoNCELoss(InfoNCELoss):
    """:class:`InfoNCELoss` at any batch size, on the memory of a small chunk of texts.

    Texts are embedded in chunks without activations, and once more in the backward pass, with the
    same dropout: the value and gradient of the plain loss, at a third more computation. With its
    defaults it is sentence-transformers' ``CachedMultipleNegativesRankingLoss``.

    Args:
        model: the ``SentenceTransformer``; not one of static embeddings, whose inputs have no rows.
        chunk_size: how many texts to embed at a time.
        options: as for :class:`InfoNCELoss`.

    Raises:
        InputError: as for :class:`InfoNCELoss`, or a chunk size below 1.

    Source: Gao et al. 2021, arXiv 2101.06983.
    """

    def __init__(self, model: Any, *, chunk_size: int = 32, **options: Any) -> None:
        check_range("chunk_size", chunk_size, 1)
        super().__init__(model, **options)
        self.chunk_size = chunk_size

    def embed(self, features: Features) -> torch.Tensor:
        """Embeddings of one column, shape [B, D]."""
        return embed_in_chunks(super().embed, features, chunk_size=self.chunk_size)

    def get_config_dict(self) -> dict[str, Any]:
        """What the model card says of the loss."""
        return super().get_config_dict() | {"chunk_size": self.chunk_size}


def _texts(features: Features) -> list[bytes]:
    """The tokens of each text."""
    ids = features["input_ids"].cpu()
    if ids.ndim == 1:
        starts = features["offsets"].tolist()
        parts = [ids[i:j] for i, j in zip(starts, [*starts[1:], len(ids)], strict=True)]
    else:
        parts = [
            row[kept] for row, kept in zip(ids, features["attention_mask"].cpu() > 0, strict=True)
        ]
    return [part.numpy().tobytes() for part in parts]


def _equal_pairs(own: list[Any], columns: list[list[Any]], device: torch.device) -> torch.Tensor:
    """(row, candidate) where a candidate has the value of the row."""
    found: dict[Any, list[int]] = {}
    for place, value in enumerate(value for column in columns for value in column):
        found.setdefault(value, []).append(place)
    pairs = [(row, place) for row, value in enumerate(own) for place in found.get(value, ())]
    return torch.tensor(pairs, dtype=torch.long, device=device).reshape(-1, 2)


def _told(value: Any) -> Any:
    """A number as it is, and a function by its name."""
    return getattr(value, "__name__", type(value).__name__) if callable(value) else value
