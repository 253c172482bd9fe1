"""A scikit-learn classifier for tables some of whose labels are false."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import assert_all_finite, check_random_state, check_scalar
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from gradatim.core.checks import check_shape
from gradatim.core.errors import InputError
from gradatim.core.examples import TensorExamples
from gradatim.core.seeds import derive_seed, seed_everything
from gradatim.difficulty.label_disagreement import label_disagreement
from gradatim.networks.reference import MLP
from gradatim.recipes.noisy_labels import EarlyLearning, EarlyLearningPlus
from gradatim.training.batches import ShuffledBatches
from gradatim.training.fit import fit
from gradatim.training.processes import read_random_state, write_random_state

Network = Callable[[int, int], torch.nn.Module]

_ROWS_AT_ONCE = 4096
_LIMITS: dict[str, dict[str, Any]] = {
    "momentum": {
        "target_type": Real,
        "min_val": 0,
        "max_val": 1,
        "include_boundaries": "left",
    },
    "strength": {"target_type": Real, "min_val": 0},
    "epochs": {"target_type": Integral, "min_val": 1},
    "batch_size": {"target_type": Integral, "min_val": 1},
    "learning_rate": {"target_type": Real, "min_val": 0, "include_boundaries": "neither"},
    "weight_decay": {"target_type": Real, "min_val": 0},
}


class EarlyLearningClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""A neural network that does not memorize false labels, and tells which they are.

    It is trained by early-learning regularization: to the cross-entropy of each training row's
    given label is added a term that holds the prediction p to its own running average T,

    .. math:: L_i = - \log p_{i, y_i} + \lambda \log (1 - \langle p_i, T_i \rangle), \qquad
        T_i \leftarrow \beta T_i + (1 - \beta) \, p_i

    since a network learns what most labels agree on before it memorizes the others. The optimizer
    is stochastic gradient descent with momentum 0.9, whose learning rate falls to zero along a
    cosine. No estimate of the share of false labels is needed.

    Training runs where Accelerate puts it (a GPU, if there is one), in float32; the fitted networks
    are on the CPU. The global random generators are left as they were found.

    Args:
        network: makes a module from the number of columns and the number of classes, with logits
            of shape [B, C] for inputs of shape [B, columns]; None for a perceptron. A fitted
            estimator can be pickled if this is a named function, not a lambda.
        momentum: beta of the running predictions, in [0, 1).
        strength: lambda of the regularizer; 0 is plain cross-entropy. A rare class looks like
            false labels: if it is missed, lower the strength.
        plus: train two networks, each held to running predictions of the other's weight average,
            on mixtures of rows (ELR+), at about three times the cost; worse at rare classes and
            on about a hundred rows.
        hidden: widths of the perceptron's hidden layers; not used with a ``network``.
        epochs: passes over the rows.
        batch_size: rows in a batch; the last rows, fewer than a batch, join the batch before.
        learning_rate: of the first update.
        weight_decay: of the optimizer.
        standardize: scale every column to mean 0 and deviation 1 on the training rows.
        random_state: seed of initialization, order and mixtures; None for a fresh one each time.
        verbose: show a progress bar.

    Attributes:
        classes_: the classes, sorted, shape [C].
        label_disagreement_: for each training row, one minus the running prediction of its given
            label (scaled to a probability), shape [n]: near 1 where the label is likely false.
        history_: one dictionary an epoch with step, epoch and loss.
        networks_: the trained module, or two with ``plus``; the mean of their logits predicts.
        scaler_: the fitted ``StandardScaler``, or None.
        n_features_in_: number of columns.
        feature_names_in_: names of the columns, where X had them.

    Raises:
        ValueError: from ``fit``: a table with NaN or text, labels that are no classes or all of
            one class, a number outside its range (``InputError`` is one of them).
        TypeError: from ``fit``: an argument of another type.
        NonFiniteLossError: from ``fit``: training diverged; a lower learning rate helps.

    Source: Liu et al. 2020, arXiv 2007.00151, section 4.

    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> X, true = load_digits(return_X_y=True)
    >>> random = np.random.default_rng(0)
    >>> false = random.random(len(true)) < 0.2
    >>> y = np.where(false, (true + random.integers(1, 10, len(true))) % 10, true)
    >>> model = EarlyLearningClassifier(epochs=8, random_state=0).fit(X, y)
    >>> suspects = np.argsort(-model.label_disagreement_)[:200]
    >>> bool(false[suspects].mean() > 0.95)
    True
    """

    def __init__(
        self,
        network: Network | None = None,
        *,
        momentum: float = 0.7,
        strength: float = 3.0,
        plus: bool = False,
        hidden: tuple[int, ...] = (128, 128),
        epochs: int = 50,
        batch_size: int = 128,
        learning_rate: float = 0.1,
        weight_decay: float = 1e-3,
        standardize: bool = True,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.network = network
        self.momentum = momentum
        self.strength = strength
        self.plus = plus
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.standardize = standardize
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any) -> Self:
        """Train on a table and its labels, some of which may be false.

        Args:
            X: numbers, shape [n, columns].
            y: labels, of any type that scikit-learn takes for classes, shape [n].

        Returns:
            The estimator itself.
        """
        for name, limits in _LIMITS.items():
            check_scalar(getattr(self, name), name, **limits)
        X, y = validate_data(self, X, y, dtype=(np.float64, np.float32))
        check_classification_targets(y)
        self.classes_, classes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y: expected at least two classes, got one class: {self.classes_[0]}")
        self.scaler_ = StandardScaler().fit(X) if self.standardize else None
        seed = _draw_seed(self.random_state)
        with _own_randomness(derive_seed(seed, "initialization")):
            self._train(self._inputs(X), torch.from_numpy(classes), seed)
        return self

    def decision_function(self, X: Any) -> npt.NDArray[np.float32]:
        """Logits: shape [n, C], or [n] for two classes, where positive means the second."""
        logits = self._logits(X).numpy()
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X: Any) -> npt.NDArray[np.float32]:
        """Probabilities of the classes in the order of ``classes_``, shape [n, C]."""
        probabilities: npt.NDArray[np.float32] = self._logits(X).softmax(dim=1).numpy()
        return probabilities

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The most probable class of each row, shape [n]."""
        classes = self._logits(X).argmax(dim=1).numpy()
        predicted: npt.NDArray[Any] = self.classes_[classes]
        return predicted

    def _train(self, inputs: torch.Tensor, labels: torch.Tensor, seed: int) -> None:
        """Train the networks and read the running predictions."""
        size, count = len(inputs), len(self.classes_)
        batches = ShuffledBatches(size, self.batch_size, seed=seed, remainder="merge")
        updates = self.epochs * len(batches)
        networks = [self._make_network(inputs, count) for _ in range(1 + bool(self.plus))]
        recipe: EarlyLearning | EarlyLearningPlus
        if self.plus:
            recipe = EarlyLearningPlus(
                (networks[0], networks[1]),
                size,
                count,
                momentum=self.momentum,
                strength=self.strength,
                ramp_steps=max(1, updates // 2),
            )
        else:
            recipe = EarlyLearning(size, count, momentum=self.momentum, strength=self.strength)
        optimizer = torch.optim.SGD(
            [parameter for network in networks for parameter in network.parameters()],
            lr=self.learning_rate,
            momentum=0.9,
            weight_decay=self.weight_decay,
        )
        result = fit(
            recipe.networks if isinstance(recipe, EarlyLearningPlus) else networks[0],
            TensorExamples(x=inputs, label=labels),
            recipe.step,
            optimizer=optimizer,
            schedulers=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates),
            batches=batches,
            epochs=self.epochs,
            precision="float32",
            callbacks=recipe.callbacks,
            stateful=recipe.stateful,
            seed=seed,
            progress_bar=bool(self.verbose),
        )
        past = (
            recipe.past_predictions()
            if isinstance(recipe, EarlyLearningPlus)
            else recipe.past.values
        )
        self.history_ = result.history
        self.networks_ = [network.cpu().eval() for network in networks]
        # Running predictions start at zero: after k epochs a row sums to 1 - momentum ** k.
        past = past / past.sum(dim=1, keepdim=True)
        self.label_disagreement_ = label_disagreement(past, labels).numpy()

    def _make_network(self, inputs: torch.Tensor, classes: int) -> torch.nn.Module:
        """A new network; one of the user's is tried on two rows."""
        columns = inputs.shape[1]
        if self.network is None:
            hidden = np.atleast_1d(self.hidden).tolist()
            for width in hidden:
                check_scalar(width, "hidden", Integral, min_val=1)
            return MLP((columns, *hidden, classes)).float()
        if isinstance(self.network, torch.nn.Module) or not callable(self.network):
            raise InputError(
                "network: expected a function of the numbers of columns and classes, "
                f"got a {type(self.network).__name__}"
            )
        module = self.network(columns, classes)
        if not isinstance(module, torch.nn.Module):
            raise InputError(
                f"network: expected it to make a torch module, got a {type(module).__name__}"
            )
        module = module.float().eval()
        with torch.no_grad():
            check_shape("logits of the network", module(inputs[:2].clone()), 2, classes)
        return module

    def _inputs(self, X: npt.NDArray[Any]) -> torch.Tensor:
        """Validated rows as the networks see them, shape [n, columns]."""
        scaled = X if self.scaler_ is None else self.scaler_.transform(X)
        with np.errstate(over="ignore"):
            rows = np.array(scaled, dtype=np.float32)
        assert_all_finite(rows, input_name="X")
        return torch.from_numpy(rows)

    @torch.no_grad()
    def _logits(self, X: Any) -> torch.Tensor:
        """Mean logits of the networks, shape [n, C]."""
        check_is_fitted(self)
        inputs = self._inputs(validate_data(self, X, dtype=(np.float64, np.float32), reset=False))
        parts = [
            torch.stack([network(rows) for network in self.networks_]).mean(dim=0)
            for rows in torch.split(inputs, _ROWS_AT_ONCE)
        ]
        return torch.cat(parts)


def _draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """A seed from what scikit-learn calls a random state; None leaves numpy's generator alone."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31 - 1))
    return int(check_random_state(random_state).randint(2**31 - 1))


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Seed the global generators, and afterwards put back what they were."""
    before = read_random_state()
    try:
        seed_everything(seed)
        yield
    finally:
        write_random_state(before)
