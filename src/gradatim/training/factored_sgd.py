"""The optimizer of the factored output layer."""

from collections.abc import Callable
from typing import Any

import torch

from gradatim.core.checks import check_range
from gradatim.core.errors import InputError
from gradatim.networks.factored_spherical import FactoredSphericalLinear


class FactoredSGD(torch.optim.Optimizer):
    r"""Plain SGD on the weights of a factored output layer, exact and without touching them all.

    .. math:: W \leftarrow (1 - \eta \lambda) W - \eta\, \partial L / \partial W

    It is an optimizer of torch, so learning-rate schedulers, ``fit`` and checkpoints take it; give
    it beside the one that trains the network before the layer. It holds one number that stands for
    the weights. Its ``grad`` is the norm of the layer's gradient, so that clipping by the global
    norm, loss scaling and the means of accumulated batches act on the layer as on any parameter.

    A step uses the gradient up. Momentum, Adam and rates a row do not exist in factored form.

    Args:
        layer: the layer; the newest optimizer made for it is the one that trains it.
        lr: learning rate eta, at least 0.
        weight_decay: lambda, at least 0. The Z-loss does not see the scale of the weights, so that
            decay only raises its effective learning rate.
        stabilize_every: steps between stabilizations, see
            :meth:`FactoredSphericalLinear.stabilize`. A U that comes near to a singular matrix is
            stabilized at once, whatever is given here.

    Raises:
        InputError: something else than a factored layer, or a number outside its range.

    Source: Vincent et al. 2015, arXiv 1412.7091; the authors' code stabilizes every 10 to 100
    updates.

    >>> from gradatim.objectives.spherical import z_loss
    >>> layer = FactoredSphericalLinear(8, num_classes=1000)
    >>> optimizer = FactoredSGD(layer, lr=0.1)
    >>> hidden, labels = torch.randn(4, 8), torch.tensor([3, 1, 999, 3])
    >>> def loss():
    ...     return z_loss(*layer(hidden, labels), num_classes=1000, b=10.0)
    >>> before = loss()
    >>> before.backward()
    >>> optimizer.step()
    >>> bool(loss() < before)
    True
    """

    def __init__(
        self,
        layer: FactoredSphericalLinear,
        lr: float,
        *,
        weight_decay: float = 0.0,
        stabilize_every: int = 100,
    ) -> None:
        if not isinstance(layer, FactoredSphericalLinear):
            raise InputError(
                f"layer: expected a FactoredSphericalLinear, got {type(layer).__name__}"
            )
        check_range("lr", lr, 0)
        check_range("weight_decay", weight_decay, 0)
        check_range("stabilize_every", stabilize_every, 1)
        self.layer = layer
        self.stand_in = layer.factors.new_zeros(()).requires_grad_()
        layer.forget_gradient()
        layer.stand_in = self.stand_in
        defaults = {"lr": lr, "weight_decay": weight_decay, "stabilize_every": stabilize_every}
        super().__init__([self.stand_in], defaults)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the layer's gradient."""
        self.layer.forget_gradient()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Change the weights by the gradient of the backward passes since the last step.

        Args:
            closure: computes the loss and its gradient anew, as in torch.

        Returns:
            The closure's loss.

        Raises:
            InputError: another optimizer has been made for the layer, or several processes train.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._check()
        if self.stand_in.grad is None:
            return loss
        group: dict[str, Any] = self.param_groups[0]
        self.layer.step(float(group["lr"]), float(group["weight_decay"]))
        state = self.state[self.stand_in]
        state["steps"] = state.get("steps", 0) + 1
        if state["steps"] % group["stabilize_every"] == 0:
            self.layer.stabilize()
        return loss

    def _check(self) -> None:
        if self.layer.stand_in is not self.stand_in:
            raise InputError(
                "FactoredSGD: expected to be the layer's optimizer, but another one was made for it"
            )
        if torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            raise InputError(
                "FactoredSGD: expected one process, got "
                f"{torch.distributed.get_world_size()}: each would step by its own batches alone"
            )
