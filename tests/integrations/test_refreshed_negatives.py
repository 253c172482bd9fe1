"""Negatives that are mined anew: in ``fit``, and in a sentence-transformers trainer."""

import json

import numpy as np
import pytest
import torch
from datasets import Dataset

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.integrations.refreshed_negatives import (
    RefreshedNegatives,
    attach_refreshed_negatives,
)
from gradatim.mining.negative_choice import NegativeRules
from gradatim.training import fit
from gradatim.training.step import Loss


def by_hand(queries, documents, positives, count):
    """The best documents by cosine that are no positive."""
    unit = torch.nn.functional.normalize
    scores = unit(queries.detach().double()) @ unit(documents.detach().double()).T
    rows = torch.arange(len(positives))[:, None].expand_as(positives)
    scores[rows[positives >= 0], positives[positives >= 0]] = -torch.inf
    return scores.topk(count).indices


def test_fit_trains_on_what_the_present_model_finds():
    torch.manual_seed(0)
    model, texts = torch.nn.Linear(4, 4), torch.randn(12, 4)
    positives = torch.arange(12)[:, None]
    mined = RefreshedNegatives(
        positives, lambda: model(texts), lambda: model(texts), every=3,
        rules=NegativeRules(count=2),
    )  # fmt: skip
    seen, expected = [], []

    def step(model, batch, state):
        if state.step % 3 == 0:
            vectors = model(texts)
            expected.append(by_hand(vectors, vectors, positives, 2))
        assert torch.equal(mined.index, expected[-1])
        seen.append(state.step)
        negatives = mined.index[state.index]
        anchor = model(batch["x"])
        return Loss.of(torch.einsum("bd,bnd->bn", anchor, model(texts)[negatives]).mean(1))

    fit(
        model, TensorExamples(x=texts), step, batch_size=4, epochs=3,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.5), callbacks=[mined],
    )  # fmt: skip
    assert len(seen) == 9 and len(expected) == 3 and len(mined.staleness) == 2
    assert not torch.equal(expected[0], expected[-1])
    wanted = np.mean(
        [
            len(set(a) - set(b)) / 2
            for a, b in zip(expected[0].tolist(), expected[1].tolist(), strict=True)
        ]
    )
    assert mined.staleness[0] == pytest.approx(wanted)


def test_documents_that_stay_are_encoded_once():
    calls = {"queries": 0, "documents": 0}
    vectors = torch.randn(8, 3)

    def encode(name):
        calls[name] += 1
        return vectors

    mined = RefreshedNegatives(
        torch.arange(8)[:, None], lambda: encode("queries"), lambda: encode("documents"),
        every=1, refresh_documents=False,
    )  # fmt: skip
    for step in range(3):
        mined.refresh(step)
    assert calls == {"queries": 3, "documents": 1} and mined.staleness == [0.0, 0.0]


def test_state_is_taken_up_and_checked():
    vectors = torch.randn(8, 3)

    def make(size=8):
        return RefreshedNegatives(
            torch.arange(size)[:, None], lambda: vectors[:size], lambda: vectors, every=4
        )

    one, other = make(), make()
    one.refresh(4)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one.index, other.index) and not other.due(4) and other.due(8)
    with pytest.raises(InputError, match=r"negatives: expected a state of shape \[5, 1\]"):
        make(5).load_state_dict(one.state_dict())
    with pytest.raises(InputError, match="queries: expected 8 vectors, one a query, got 3"):
        RefreshedNegatives(
            torch.arange(8)[:, None], lambda: vectors[:3], lambda: vectors, every=1
        ).refresh(0)
    with pytest.raises(InputError, match="every"):
        RefreshedNegatives(torch.arange(8)[:, None], lambda: vectors, lambda: vectors, every=0)


class Noting:
    """A collator that keeps what it gets."""

    def __init__(self, collate):
        self.collate, self.batches = collate, []

    def __call__(self, features):
        self.batches.append(features)
        return self.collate(features)

    def __getattr__(self, name):
        return getattr(self.collate, name)


class TestTrainer:
    """In a trainer of sentence-transformers."""

    @pytest.fixture(autouse=True)
    def needed(self):
        pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")

    def make(self, folder, data=None, **arguments):
        from sentence_transformers import (
            SentenceTransformer,
            SentenceTransformerTrainer,
            SentenceTransformerTrainingArguments,
        )
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding

        from tests.language.tiny_models import character_tokenizer

        torch.manual_seed(0)
        embedding = StaticEmbedding(character_tokenizer().backend_tokenizer, embedding_dim=8)
        model = SentenceTransformer(modules=[embedding], device="cpu")
        rows = data or Dataset.from_list(
            [{"q": f"{chr(97 + i)}?", "a": f"{i} {chr(97 + i)}"} for i in range(24)]
        )
        settings = {
            "per_device_train_batch_size": 4, "num_train_epochs": 2, "learning_rate": 0.5,
            "save_strategy": "no", "logging_strategy": "no", "report_to": [],
            "disable_tqdm": True, "use_cpu": True, "seed": 1,
        } | arguments  # fmt: skip
        return SentenceTransformerTrainer(
            model=model, train_dataset=rows, loss=MultipleNegativesRankingLoss(model),
            args=SentenceTransformerTrainingArguments(str(folder), **settings),
        )  # fmt: skip

    def watch(self, trainer):
        """Keep the rows of each batch as the trainer's own collator gets them."""
        noting = trainer.data_collator.collate = Noting(trainer.data_collator.collate)
        return noting.batches

    @pytest.mark.parametrize("negatives", [1, 2])
    def test_rows_get_negatives_of_the_present_model(self, tmp_path, negatives):
        trainer = self.make(tmp_path)
        corpus = [f"extra {chr(97 + i)}" for i in range(6)]
        mined = attach_refreshed_negatives(trainer, every=5, negatives=negatives, corpus=corpus)
        batches = self.watch(trainer)
        trainer.train()
        assert len(mined.staleness) == 2 and 0 < max(mined.staleness) <= 1
        names = ["negative"] if negatives == 1 else ["negative_1", "negative_2"]
        rows = trainer.train_dataset
        documents = list(dict.fromkeys([*rows["a"], *corpus]))
        for batch in batches:
            positives = {row["a"] for row in batch}
            for row in batch:
                assert list(row) == ["q", "a", *names]
                found = [row[name] for name in names]
                assert not positives & set(found) and len(set(found)) == negatives
                assert set(found) <= set(documents)
        first = self.make(tmp_path).model
        queries, texts = (
            torch.from_numpy(first.encode(list(one))) for one in (rows["q"], documents)
        )
        wanted = by_hand(queries, texts, torch.arange(24)[:, None], 4 * negatives)
        for row in batches[0]:
            place = rows["q"][:].index(row["q"])
            positives = {one["a"] for one in batches[0]}
            best = [documents[i] for i in wanted[place].tolist() if documents[i] not in positives]
            assert [row[name] for name in names] == best[:negatives]

    def test_a_resumed_run_has_the_negatives_it_had(self, tmp_path):
        arguments = {"save_strategy": "steps", "save_steps": 5, "max_steps": 10}
        whole = self.make(tmp_path / "one", **arguments)
        mined = attach_refreshed_negatives(whole, every=3)
        whole.train()
        again = self.make(tmp_path / "one", **arguments)
        other = attach_refreshed_negatives(again, every=3)
        again.train(resume_from_checkpoint=str(tmp_path / "one" / "checkpoint-5"))
        assert torch.equal(mined.index, other.index) and mined.staleness == other.staleness
        for name, one in whole.model.state_dict().items():
            torch.testing.assert_close(one, again.model.state_dict()[name])

    def test_a_column_that_is_there_is_replaced_and_evaluation_left_alone(self, tmp_path):
        rows = Dataset.from_list(
            [{"q": f"{chr(97 + i)}?", "a": f"{i} b", "negative": "old"} for i in range(8)]
        )
        trainer = self.make(tmp_path, rows, num_train_epochs=1)
        mined = attach_refreshed_negatives(trainer, every=100)
        batches = self.watch(trainer)
        trainer.train()
        assert all(row["negative"] != "old" for batch in batches for row in batch)
        others = [{"q": "unknown", "a": "b", "negative": "old"}]
        trainer.data_collator(others)
        assert batches[-1] == others and mined.staleness == []

    def test_what_cannot_be_refreshed_is_refused(self, tmp_path):
        one = Dataset.from_list([{"q": "a"}])
        numbers = Dataset.from_list([{"q": "a", "a": 1}, {"q": "b", "a": 2}])
        few = Dataset.from_list([{"q": "a", "a": "x"}, {"q": "b", "a": "x"}])
        for data, message in (
            (one, "train_dataset: expected two columns"),
            (numbers, "row 0, column 'a': expected a text, got int"),
            (few, "corpus: expected more documents than 1 negatives, got 1"),
        ):
            with pytest.raises(InputError, match=message):
                attach_refreshed_negatives(self.make(tmp_path, data), every=2)
        with pytest.raises(InputError, match="dataloader_num_workers: expected 0"):
            attach_refreshed_negatives(self.make(tmp_path, dataloader_num_workers=2), every=2)
        with pytest.raises(InputError, match="negatives"):
            attach_refreshed_negatives(self.make(tmp_path), every=2, negatives=0)

    def test_a_checkpoint_of_other_queries(self, tmp_path):
        arguments = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
        trainer = self.make(tmp_path, **arguments)
        attach_refreshed_negatives(trainer, every=2)
        trainer.train()
        rows = Dataset.from_list([{"q": f"{i}", "a": f"{i} b"} for i in range(24)])
        other = self.make(tmp_path, rows, **arguments)
        attach_refreshed_negatives(other, every=2)
        with pytest.raises(InputError, match="expected negatives of the same queries"):
            other.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
        folder = tmp_path / "checkpoint-2" / "negatives"
        assert json.loads(next(folder.glob("*.json")).read_text())
