"""InfoNCE for sentence-transformers equals its own losses where these have the function."""

import numpy as np
import pytest
import torch
from datasets import Dataset

pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")

from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from sentence_transformers.sentence_transformer.modules import (
    Pooling,
    StaticEmbedding,
    Transformer,
)

from gradatim.core.errors import InputError
from gradatim.curriculum.negative_weights import ProgressiveNegativeWeights
from gradatim.curriculum.temperature import TemperatureSchedule
from gradatim.integrations.contrastive_losses import CachedInfoNCELoss, InfoNCELoss
from gradatim.objectives.contrastive import info_nce
from tests.language.tiny_models import character_tokenizer

COLUMNS = (
    ["a cat", "dogs", "a bird", "one fish", "mouse"],
    ["meow", "bark bark", "sings", "is mute", "squeak"],
    ["a car", "tree", "the sea", "stone", "red"],
)
OURS = {"plain": InfoNCELoss, "cached": CachedInfoNCELoss}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random encoder as sentence-transformers loads it."""
    from transformers import BertConfig, BertModel

    path = str(tmp_path_factory.mktemp("bert"))
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=64, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=32,
        )
    ).save_pretrained(path)  # fmt: skip
    character_tokenizer().save_pretrained(path)
    return path


def encoder(folder):
    transformer = Transformer(folder)
    pooling = Pooling(transformer.get_embedding_dimension())
    return SentenceTransformer(modules=[transformer, pooling], device="cpu").eval()


def static():
    torch.manual_seed(0)
    embedding = StaticEmbedding(character_tokenizer().backend_tokenizer, embedding_dim=8)
    return SentenceTransformer(modules=[embedding], device="cpu")


def tokens(model, columns=COLUMNS):
    return [model.preprocess(list(column)) for column in columns]


def value_and_gradients(model, loss, columns=COLUMNS, labels=None):
    model.zero_grad()
    value = loss(tokens(model, columns), labels)
    value.backward()
    return value.detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("blockwise", [None, True])
@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({}, {}),
        ({"temperature": 0.5}, {"scale": 2.0}),
        (
            {"symmetric": True},
            {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"},
        ),
        (
            {"negative_weights": lambda s, own, t, used: (9 * s).exp()},
            {"hardness_mode": "all_negatives", "hardness_strength": 9.0},
        ),
    ],
)
def test_equals_the_losses_of_sentence_transformers(folder, kind, blockwise, ours, theirs):
    model = encoder(folder)
    loss = OURS[kind](model, blockwise=blockwise, **ours)
    loss.follow(SentenceTransformerTrainerAt(0.0))
    own = value_and_gradients(model, loss)
    for peer in (
        MultipleNegativesRankingLoss(model, **theirs),
        CachedMultipleNegativesRankingLoss(model, mini_batch_size=2, **theirs),
    ):
        other = value_and_gradients(model, peer)
        torch.testing.assert_close(own[0], other[0])
        assert len(own[1]) == len(other[1]) > 0
        for one, two in zip(own[1], other[1], strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


class SentenceTransformerTrainerAt:
    """As much of a trainer as a loss reads."""

    def __init__(self, progress):
        self.state = type("State", (), {"global_step": 100 * progress, "max_steps": 100})


@pytest.mark.parametrize("kind", OURS)
def test_pairs_without_hard_negatives(folder, kind):
    model = encoder(folder)
    own = value_and_gradients(model, OURS[kind](model), COLUMNS[:2])
    other = value_and_gradients(model, MultipleNegativesRankingLoss(model), COLUMNS[:2])
    torch.testing.assert_close(own[0], other[0])


@pytest.mark.parametrize("make", ["bert", "static"])
@pytest.mark.parametrize("blockwise", [False, True])
def test_equal_texts_are_no_negatives(folder, make, blockwise):
    """Rows 0 and 2 have one positive, 1 and 3 one anchor, and row 4's negative is row 0's."""
    model = encoder(folder) if make == "bert" else static()
    anchors, positives = ["a", "b", "c", "b", "d"], ["x", "yy", "x", "zzz", "w"]
    negatives = ["n", "o", "p", "q", "x"]
    kept = torch.ones(5, 10, dtype=torch.bool)
    for i, j in [(0, 2), (2, 0), (0, 9), (2, 9), (1, 3), (3, 1)]:
        kept[i, j] = False
    loss = InfoNCELoss(model, same="text", blockwise=blockwise)
    value = loss(tokens(model, (anchors, positives, negatives)))
    query, positive, rest = (
        model(features)["sentence_embedding"]
        for features in tokens(model, (anchors, positives, negatives))
    )
    expected = info_nce(query, positive, negatives=rest, negative_mask=kept)
    torch.testing.assert_close(value, expected)
    assert not torch.allclose(value, info_nce(query, positive, negatives=rest))


def test_padding_does_not_make_texts_different(folder):
    model = encoder(folder)
    columns = (["a", "b", "cccccc"], ["x", "yyyyyyyyy", "z"], ["x", "n", "o"])
    features = tokens(model, columns)
    query, positive, rest = (model(dict(part))["sentence_embedding"] for part in features)
    kept = torch.ones(3, 6, dtype=torch.bool)
    kept[0, 3] = False
    torch.testing.assert_close(
        InfoNCELoss(model, same="text")(features),
        info_nce(query, positive, negatives=rest, negative_mask=kept),
    )


def test_equal_labels_are_no_negatives():
    model = static()
    labels = torch.tensor([0, 1, 0, 2, 3])
    query, positive = (model(part)["sentence_embedding"] for part in tokens(model)[:2])
    loss = InfoNCELoss(model, same="label")
    value = loss(tokens(model)[:2], labels)
    with_negatives = loss(tokens(model), labels)
    kept = labels[:, None] != labels
    torch.testing.assert_close(value, info_nce(query, positive, negative_mask=kept))
    rest = model(tokens(model)[2])["sentence_embedding"]
    kept = torch.cat([kept, torch.ones(5, 5, dtype=torch.bool)], 1)
    torch.testing.assert_close(
        with_negatives, info_nce(query, positive, negatives=rest, negative_mask=kept)
    )
    with pytest.raises(InputError, match='labels: expected one a row for same="label"'):
        loss(tokens(model)[:2], None)


def test_batches_without_a_negative_do_not_end_training():
    model = static()
    loss = InfoNCELoss(model, same="text")
    assert loss(tokens(model, (["a", "a"], ["b", "b"]))) == 0


def train(folder, loss, steps=6, **arguments):
    rows = {"q": [f"{chr(97 + i)}?" for i in range(20)], "a": [f"{i} {i}" for i in range(20)]}
    settings = {
        "per_device_train_batch_size": 5, "max_steps": steps, "learning_rate": 0.01,
        "report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True,
        "use_cpu": True, **arguments,
    }  # fmt: skip
    trainer = SentenceTransformerTrainer(
        model=loss.model,
        args=SentenceTransformerTrainingArguments(output_dir=str(folder), **settings),
        train_dataset=Dataset.from_dict(rows),
        loss=loss,
    )
    if isinstance(loss, InfoNCELoss):
        loss.follow(trainer)
    return trainer


@pytest.mark.parametrize("kind", OURS)
def test_trains_as_sentence_transformers_does(folder, tmp_path, kind):
    weights = []
    for make in (OURS[kind], MultipleNegativesRankingLoss):
        loss = make(encoder(folder))
        for module in loss.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        train(tmp_path, loss).train()
        weights.append([p.detach().clone() for p in loss.model.parameters()])
    for one, two in zip(*weights, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
    moved = zip(weights[0], encoder(folder).parameters(), strict=True)
    assert any(not torch.allclose(now, before, atol=1e-3) for now, before in moved)


def test_temperature_and_weights_follow_progress(folder, tmp_path):
    seen = []
    rule = ProgressiveNegativeWeights(gamma_max=5.0)

    def noting(similarity, own, progress, used):
        seen.append(progress)
        return rule(similarity, own, progress, used)

    loss = CachedInfoNCELoss(
        encoder(folder), chunk_size=2, negative_weights=noting,
        temperature=TemperatureSchedule(0.5, 0.05),
    )  # fmt: skip
    train(tmp_path, loss, steps=4, gradient_accumulation_steps=2).train()
    assert seen == list(np.repeat([0.0, 0.25, 0.5, 0.75], 2))
    loss.follow(SentenceTransformerTrainerAt(1.0))
    loss.model.eval()
    with torch.no_grad():
        value = loss(tokens(loss.model)[:2])
        query, positive = (loss.model(p)["sentence_embedding"] for p in tokens(loss.model)[:2])
        expected = info_nce(query, positive, negative_weights=rule.at(1.0), temperature=0.05)
    torch.testing.assert_close(value, expected)


def test_evaluation_and_checkpoints(folder, tmp_path):
    loss = CachedInfoNCELoss(encoder(folder), temperature=TemperatureSchedule(0.5, 0.05))
    trainer = train(tmp_path, loss, save_strategy="steps", save_steps=3)
    trainer.train()
    metrics = trainer.evaluate(Dataset.from_dict({"q": ["a", "b"], "a": ["c", "d"]}))
    assert np.isfinite(metrics["eval_loss"])
    again = CachedInfoNCELoss(encoder(folder), temperature=TemperatureSchedule(0.5, 0.05))
    resumed = train(tmp_path, again, save_strategy="steps", save_steps=3)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    for one, two in zip(loss.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(one, two)


def test_what_the_model_card_says():
    told = CachedInfoNCELoss(None, temperature=TemperatureSchedule(1.0, 0.1)).get_config_dict()
    assert told["temperature"] == "TemperatureSchedule"
    assert told["chunk_size"] == 32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: InfoNCELoss(None, temperature=0.0), "temperature: expected"),
        (lambda: InfoNCELoss(None, same="id"), "same: expected one of text, label"),
        (lambda: CachedInfoNCELoss(None, chunk_size=0), "chunk_size: expected"),
        (lambda: InfoNCELoss(static())([{}]), "columns: expected anchor and positive, got 1"),
        (
            lambda: InfoNCELoss(static(), temperature=lambda t: 1 - t)(tokens(static())),
            r"loss: expected loss.follow\(trainer\)",
        ),
        (
            lambda: CachedInfoNCELoss(static())(tokens(static())),
            "inputs: expected values of one length",
        ),
    ],
)
def test_what_cannot_be_right_is_refused_by_name(call, message):
    with pytest.raises(InputError, match=message):
        call()
