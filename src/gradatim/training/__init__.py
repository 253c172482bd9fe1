"""Training: one loop, callbacks at named events, checkpoints, exact resume."""

from gradatim.training.batches import (
    Batches,
    OrderedBatches,
    PacedBatches,
    ShuffledBatches,
    WeightedBatches,
)
from gradatim.training.callbacks import (
    Averaging,
    Callback,
    EarlyStopping,
    EpochHook,
    GradientNoise,
    StopWhenReached,
    TrainingDynamics,
)
from gradatim.training.fit import FitResult, Stateful, fit
from gradatim.training.history import NonFiniteLossError
from gradatim.training.step import Loss, State

__all__ = [
    "Averaging",
    "Batches",
    "Callback",
    "EarlyStopping",
    "EpochHook",
    "FitResult",
    "GradientNoise",
    "Loss",
    "NonFiniteLossError",
    "OrderedBatches",
    "PacedBatches",
    "ShuffledBatches",
    "State",
    "Stateful",
    "StopWhenReached",
    "TrainingDynamics",
    "WeightedBatches",
    "fit",
]
