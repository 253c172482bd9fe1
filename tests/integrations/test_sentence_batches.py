"""sentence-transformers: batches by difficulty in which no text stands twice."""

from itertools import chain

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")

from gradatim.core.errors import InputError
from gradatim.curriculum.orders import easy_to_hard
from gradatim.curriculum.pacing import Pacing
from gradatim.integrations.sentence_batches import (
    curriculum_batch_sampler,
    text_codes,
    without_duplicates,
)
from gradatim.integrations.transformers_trainer import attach_curriculum
from tests.language.tiny_models import character_tokenizer

EXAMPLES = 26
DIFFICULTY = np.random.default_rng(5).permutation(EXAMPLES)
EASIEST = np.argsort(DIFFICULTY).tolist()


def pairs(answers=EXAMPLES) -> Dataset:
    """Questions of their own, and answers of which there are so many different ones."""
    rows = [{"q": f"{chr(97 + i)}?", "a": f"{i % answers}"} for i in range(EXAMPLES)]
    return Dataset.from_list(rows)


class Noting(torch.nn.Module):
    """A loss that keeps the questions of each batch, by their first letter."""

    def __init__(self, model):
        super().__init__()
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

        self.inner, self.seen = MultipleNegativesRankingLoss(model), []
        self.letters = {character_tokenizer()(chr(97 + i))["input_ids"][0]: i for i in range(26)}

    def forward(self, features, labels):
        if torch.is_grad_enabled():
            ids, starts = features[0]["input_ids"].tolist(), features[0]["offsets"].tolist()
            self.seen.append([self.letters[ids[start]] for start in starts])
        return self.inner(features, labels)


def make(folder, answers=EXAMPLES, dataset=None, **arguments):
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    torch.manual_seed(0)
    embedding = StaticEmbedding(character_tokenizer().backend_tokenizer, embedding_dim=8)
    model = SentenceTransformer(modules=[embedding], device="cpu")
    settings = {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 2,
        "learning_rate": 0.1,
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        **arguments,
    }
    return SentenceTransformerTrainer(
        model=model,
        args=SentenceTransformerTrainingArguments(output_dir=str(folder), **settings),
        train_dataset=pairs(answers) if dataset is None else dataset,
        loss=Noting(model),
    )


def cut(order, size=4):
    return [order[i : i + size] for i in range(0, len(order), size)]


def test_a_trainer_sees_the_order(tmp_path):
    trainer = make(tmp_path)
    attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)
    trainer.train()
    assert trainer.loss.seen == cut(EASIEST) * 2


@pytest.mark.parametrize("kind", ["no_duplicates", "no_duplicates_hashed"])
def test_a_trainer_that_wants_no_duplicates_gets_none(tmp_path, kind):
    trainer = make(tmp_path, answers=9, batch_sampler=kind)
    attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)
    trainer.train()
    seen = trainer.loss.seen
    assert all(len({i % 9 for i in batch}) == len(batch) for batch in seen)
    assert sorted(chain(*seen[:7])) == list(range(EXAMPLES))
    late = [EASIEST.index(i) - place for place, i in enumerate(chain(*seen[:7]))]
    assert max(map(abs, late)) <= 8  # nobody waits long


def test_the_sampler_stands_in_the_arguments(tmp_path):
    sampler = curriculum_batch_sampler(DIFFICULTY, epochs=2, order=easy_to_hard)
    trainer = make(tmp_path, batch_sampler=sampler, save_strategy="steps", save_steps=9)
    trainer.train()
    assert trainer.loss.seen == cut(EASIEST) * 2
    again = make(tmp_path, batch_sampler=sampler)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-9"))
    assert again.loss.seen == trainer.loss.seen[9:]
    assert torch.equal(*(t.model[0].embedding.weight for t in (trainer, again)))


def test_both_ways_agree(tmp_path):
    options = {"pacing": Pacing("root", start=0.4), "seed": 1}
    arguments = {"answers": 9, "gradient_accumulation_steps": 2}
    one = make(tmp_path, batch_sampler="no_duplicates", **arguments)
    attach_curriculum(one, DIFFICULTY, **options)
    one.train()
    sampler = curriculum_batch_sampler(DIFFICULTY, epochs=2, accumulate=2, **options)
    two = make(tmp_path, batch_sampler=sampler, **arguments)
    two.train()
    assert one.loss.seen == two.loss.seen
    assert max(DIFFICULTY[i] for i in one.loss.seen[0]) < max(
        DIFFICULTY[i] for i in one.loss.seen[-1]
    )


def test_an_attached_curriculum_resumes_exactly(tmp_path):
    def run(resume=None, **arguments):
        trainer = make(tmp_path, answers=9, batch_sampler="no_duplicates", **arguments)
        attach_curriculum(trainer, DIFFICULTY, pacing=Pacing(), replacement=False)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run(save_strategy="steps", save_steps=5)
    for step in (5, 10):
        resumed = run(str(tmp_path / f"checkpoint-{step}"))
        assert resumed.loss.seen == whole.loss.seen[step:]
        assert torch.equal(*(t.model[0].embedding.weight for t in (whole, resumed)))


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40),
    st.integers(1, 6),
    st.randoms(),
)
def test_batches_without_duplicates(rows, size, chance):
    codes = np.array(rows)
    order = list(range(len(rows)))
    chance.shuffle(order)
    batches = list(without_duplicates(order, codes, [size] * len(rows)))
    assert sorted(chain(*batches)) == sorted(order)  # as many batches as rows: all find a place
    left = list(order)
    for batch in batches:
        wanted, texts = [], set()
        for row in left:  # in words: go through what is left, take what shares no text
            if len(wanted) < size and texts.isdisjoint(rows[row]):
                wanted.append(row)
                texts |= set(rows[row])
        left = [row for row in left if row not in wanted]
        assert batch == wanted


def test_codes_are_equal_where_texts_are():
    data = Dataset.from_dict({"a": ["x", "y"], "b": [["x"], ["x"]], "n": [1, 2], "label": [0, 0]})
    codes = text_codes(data, ["label"])
    assert codes.shape == (2, 3)
    assert codes[0, 1] == codes[1, 1]
    assert len(np.unique(codes)) == 5
    with pytest.raises(InputError, match="expected a column of texts"):
        text_codes(data, data.column_names)


def test_bad_input(tmp_path):
    trainer = make(tmp_path, batch_sampler="group_by_label")
    attach_curriculum(trainer, DIFFICULTY, order=easy_to_hard)
    with pytest.raises(InputError, match="batch_sampler: expected 'batch_sampler' or"):
        trainer.train()
    sampler = curriculum_batch_sampler(DIFFICULTY[1:], epochs=2, order=easy_to_hard)
    with pytest.raises(InputError, match="each of 26 rows, got 25"):
        make(tmp_path, batch_sampler=sampler).train()
    several = make(tmp_path, dataset={"one": pairs(), "two": pairs()})
    with pytest.raises(InputError, match="expected one data set, got 2"):
        attach_curriculum(several, DIFFICULTY, order=easy_to_hard)
