"""Students that learn from soft labels, and teachers that give them, whatever they are made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.objectives.soft_targets import soft_target_cross_entropy
from gradatim.training.fit import fit
from gradatim.training.step import Loss, State

_ROWS_AT_ONCE = 4096
_UNLIKELY = 1e-3


@runtime_checkable
class Student(Protocol):
    """What learns from soft labels."""

    def learn(self, inputs: Any, targets: NDArray[np.float64], seed: int) -> None:
        """Train on class probabilities, shape [n, C]."""
        ...

    def probabilities(self, inputs: Any) -> NDArray[np.float64]:
        """Predicted class probabilities, shape [n, C]."""
        ...


@dataclass
class NetworkStudent:
    """A PyTorch module that gives logits, trained by soft-target cross-entropy with :func:`fit`.

    Attributes:
        network: the module, in its first state.
        optimizer: from its parameters to an optimizer.
        epochs: passes over what is labelled.
        batch_size: examples in an update.

    >>> network = torch.nn.Linear(2, 2)
    >>> student = NetworkStudent(network, lambda p: torch.optim.SGD(p, 1.0), epochs=50)
    >>> student.learn(np.eye(2), np.eye(2), seed=0)
    >>> student.probabilities(np.eye(2)).argmax(axis=1).tolist()
    [0, 1]
    """

    network: torch.nn.Module
    optimizer: Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer] = field(
        default=lambda parameters: torch.optim.Adam(parameters, 1e-3)
    )
    epochs: int = 40
    batch_size: int = 32

    def learn(self, inputs: Any, targets: NDArray[np.float64], seed: int) -> None:
        """Train on class probabilities."""
        x = _tensor(inputs)
        fit(
            self.network,
            TensorExamples(x=x, target=torch.from_numpy(targets).float()),
            _distill,
            optimizer=self.optimizer(list(self.network.parameters())),
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=seed,
            progress_bar=False,
        )

    @torch.no_grad()
    def probabilities(self, inputs: Any) -> NDArray[np.float64]:
        """Predicted class probabilities, in evaluation mode."""
        return _network_probabilities(self.network, inputs)


@dataclass
class EstimatorStudent:
    """A scikit-learn classifier: a row counts for each class with its probability as weight.

    Classifiers that take no ``sample_weight`` learn the likeliest class.

    Attributes:
        estimator: with ``fit`` and ``predict_proba``; it is fitted in place.
        classes: how many there are; those that never were likely get probability 0.

    >>> from sklearn.linear_model import LogisticRegression
    >>> student = EstimatorStudent(LogisticRegression(C=100.0), classes=3)
    >>> student.learn(np.array([[0.0], [1.0]]), np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]]), 0)
    >>> student.probabilities(np.array([[0.0]])).round(1).tolist()
    [[0.9, 0.1, 0.0]]
    """

    estimator: Any
    classes: int

    def learn(self, inputs: Any, targets: NDArray[np.float64], seed: int) -> None:
        """Train on class probabilities."""
        from sklearn.utils.validation import has_fit_parameter

        if "random_state" in self.estimator.get_params():
            self.estimator.set_params(random_state=seed % 2**32)
        flat = as_rows(inputs)
        if not has_fit_parameter(self.estimator, "sample_weight"):
            self.estimator.fit(flat, targets.argmax(axis=1))
            return
        weights = np.where(targets < _UNLIKELY * targets.max(axis=1, keepdims=True), 0.0, targets)
        row, label = np.nonzero(weights)
        self.estimator.fit(flat[row], label, sample_weight=weights[row, label])

    def probabilities(self, inputs: Any) -> NDArray[np.float64]:
        """Predicted class probabilities, a column a class."""
        found = np.zeros((len(inputs), self.classes))
        found[:, self.estimator.classes_] = self.estimator.predict_proba(as_rows(inputs))
        return found


def as_student(made: Any, classes: int, train: Mapping[str, Any]) -> Student:
    """Wrap a module or a scikit-learn classifier.

    Args:
        made: a module that gives logits, a classifier, or a :class:`Student`.
        classes: how many there are.
        train: options of :class:`NetworkStudent`.

    Raises:
        InputError: it is none of these.

    >>> as_student(torch.nn.Linear(2, 3), 3, {"epochs": 5}).epochs
    5
    """
    if isinstance(made, torch.nn.Module):
        return NetworkStudent(made, **train)
    if isinstance(made, Student):
        return made
    if hasattr(made, "predict_proba") or hasattr(made, "fit"):
        return EstimatorStudent(made, classes)
    raise InputError(
        "student: expected a module, a classifier with predict_proba or what learns from soft "
        f"labels, got {type(made).__name__}"
    )


def teacher_probabilities(teacher: Any, inputs: Any) -> NDArray[np.float64]:
    """Class probabilities of a function, a module that gives logits, or a classifier.

    >>> teacher_probabilities(lambda x: np.full((len(x), 2), 0.5), np.zeros((1, 3))).tolist()
    [[0.5, 0.5]]
    """
    if isinstance(teacher, torch.nn.Module):
        return _network_probabilities(teacher, inputs)
    if hasattr(teacher, "predict_proba"):
        return np.asarray(teacher.predict_proba(as_rows(inputs)), dtype=np.float64)
    if isinstance(teacher, Student):
        return teacher.probabilities(inputs)
    found = teacher(inputs)
    found = found.detach().cpu().numpy() if isinstance(found, torch.Tensor) else found
    return np.asarray(found, dtype=np.float64)


def check_probabilities(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same probabilities, if they are such.

    Raises:
        InputError: another shape than [n, C], or a row that does not sum to one (it is named).

    >>> check_probabilities(np.array([[0.5, 0.5]])).shape
    (1, 2)
    """
    if probabilities.ndim != 2 or not np.isfinite(probabilities).all():
        raise InputError(
            "teacher: expected finite class probabilities, shape [n, C], got shape "
            f"{list(probabilities.shape)}"
        )
    off = np.flatnonzero((abs(probabilities.sum(axis=1) - 1.0) > 1e-3) | (probabilities < 0).any(1))
    if len(off):
        raise InputError(
            f"teacher: expected probabilities that sum to one, got a sum of "
            f"{probabilities[off[0]].sum():.4g} at row {off[0]}"
        )
    return probabilities


def _distill(model: Any, batch: Mapping[str, Any], state: State) -> Loss:
    logits = model(batch["x"])
    return Loss.of(soft_target_cross_entropy(logits, batch["target"], reduction="none"))


@torch.no_grad()
def _network_probabilities(network: torch.nn.Module, inputs: Any) -> NDArray[np.float64]:
    was = network.training
    network.eval()
    device = next((one.device for one in network.parameters()), torch.device("cpu"))
    x = _tensor(inputs)
    parts = [
        network(part.to(device)).double().softmax(dim=-1).cpu()
        for part in torch.split(x, _ROWS_AT_ONCE)
    ]
    network.train(was)
    return np.asarray(torch.cat(parts).numpy())


def _tensor(inputs: Any) -> torch.Tensor:
    x = torch.as_tensor(inputs)
    return x.float() if x.is_floating_point() else x


def as_rows(inputs: Any) -> NDArray[np.floating]:
    """Inputs as an array with one flat row an example.

    >>> as_rows(torch.zeros(2, 3, 4)).shape
    (2, 12)
    """
    array = inputs.detach().cpu().numpy() if isinstance(inputs, torch.Tensor) else inputs
    return np.asarray(array).reshape(len(array), -1)
