"""Training ends once a figure is reached, not before."""

import pytest
import torch

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.training import Loss, StopWhenReached, fit


def run(figures, callback, folder=None):
    """Evaluate every second update; the k-th evaluation gives the k-th figure."""
    model = torch.nn.Linear(1, 1)

    def step(model, batch, state):
        return Loss.of(model(batch["x"]).square().mean(dim=1))

    return fit(
        model, TensorExamples(x=torch.ones(4, 1)), step, steps=10, batch_size=4,
        optimizer=torch.optim.SGD(model.parameters(), 0.1), evaluate_every=2,
        evaluate=lambda model, state: {"accuracy": figures[state.step // 2 - 1]},
        callbacks=[callback], checkpoint=folder,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("figures", "steps"),
    [([0.1, 0.39, 0.4, 0.1, 0.1], 6), ([0.9, 0.0, 0.0, 0.0, 0.0], 2),
     ([0.1, 0.2, 0.3, 0.39, 0.2], 10), ([float("nan")] * 5, 10)],
)  # fmt: skip
def test_stops_at_the_first_evaluation_that_reaches_the_threshold(figures, steps):
    result = run(figures, StopWhenReached("accuracy", 0.4))
    assert result.step == steps and result.stopped_early == (steps < 10)


def test_a_stopped_run_stays_stopped(tmp_path):
    for _ in range(2):
        result = run([0.1, 0.5, 0.1, 0.1, 0.1], StopWhenReached("accuracy", 0.4), tmp_path)
        assert result.step == 4 and result.stopped_early


def test_wrong_arguments():
    with pytest.raises(InputError, match="expected 'accurracy' among the results, got accuracy"):
        run([0.1] * 5, StopWhenReached("accurracy", 0.4))
    with pytest.raises(InputError, match="threshold: expected a number"):
        StopWhenReached("accuracy", float("nan"))
