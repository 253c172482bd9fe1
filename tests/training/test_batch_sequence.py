"""A plan numbered through: what any trainer sees is what ``fit`` trains on."""

import numpy as np
import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.curriculum.pacing import Pacing
from gradatim.training import Loss, ShuffledBatches, fit
from gradatim.training.batch_sequence import BatchSequence
from gradatim.training.curriculum_batches import CurriculumBatches


def plan(length=6):
    return CurriculumBatches(np.arange(40), 5, pacing=Pacing("linear"), length=length, seed=3)


@pytest.mark.parametrize(("accumulate", "total"), [(1, 15), (2, 18), (3, 12)])
def test_what_fit_trains_on(accumulate, total):
    model, seen = torch.nn.Linear(1, 1), []

    def step(model, batch, state):
        seen.append(state.index.tolist())
        return Loss.of(model(batch["x"]).square().mean(dim=1))

    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    fit(model, TensorExamples(x=torch.zeros(40, 1)), step, optimizer=optimizer,
        steps=total // accumulate, batches=plan(), accumulate=accumulate)  # fmt: skip
    sequence = BatchSequence(plan(), total=total, accumulate=accumulate)
    assert [batch.tolist() for batch in sequence] == seen


def test_any_batch_alone_and_from_any_batch_on():
    sequence = BatchSequence(plan(), epochs=3)
    whole = [batch.tolist() for batch in sequence]
    assert len(sequence) == len(whole) == 18
    assert sequence[7].tolist() == whole[7]
    assert [batch.tolist() for batch in sequence.from_batch(11)] == whole[11:]
    assert [batch.tolist() for batch in sequence.epoch(1, 2)] == whole[8:12]
    assert [sequence.progress(k) for k in (0, 9, 17)] == [0, 0.5, 17 / 18]
    short = BatchSequence(plan(), total=8)
    assert len(list(short.epoch(1))) == 2 and list(short.epoch(2)) == []


def test_epochs_are_reshuffled():
    sequence = BatchSequence(ShuffledBatches(10, 3), epochs=2)
    first, second = (np.concatenate(list(sequence.epoch(e))).tolist() for e in (0, 1))
    assert first != second and sorted(first) == sorted(second)


@pytest.mark.parametrize("options", [{}, {"epochs": 1, "total": 2}, {"epochs": 0}, {"total": 0},
                                     {"total": 1, "accumulate": 0}])  # fmt: skip
def test_wrong_arguments(options):
    with pytest.raises(InputError, match="expected"):
        BatchSequence(plan(), **options)
    with pytest.raises(IndexError, match="batch 18 is out of range"):
        BatchSequence(plan(), epochs=3)[18]
