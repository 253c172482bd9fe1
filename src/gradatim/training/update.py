"""One update: precision, backward passes, averaging of gradients, clipping, optimizer steps."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch

from gradatim.core.errors import InputError, nearest_names
from gradatim.training.step import Loss, State

_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_ACCELERATE_NAMES = {"no": "float32", "bf16": "bfloat16", "fp16": "float16"}


class Updater:
    """Turns the losses of one or several batches into one step of the optimizers.

    Args:
        state: where training stands, with the models and optimizers.
        schedulers: learning-rate schedulers, stepped after every update.
        clip_norm: largest global gradient norm; None does not clip.
        precision: "float32", "bfloat16", "float16", or None for what Accelerate was told.
        accumulate: batches in a usual update.
    """

    def __init__(
        self,
        state: State,
        schedulers: list[Any],
        clip_norm: float | None,
        precision: str | None,
        accumulate: int,
    ) -> None:
        for scheduler in schedulers:
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                raise InputError(
                    "schedulers: ReduceLROnPlateau needs a metric; call it in a callback"
                )
        told = _ACCELERATE_NAMES.get(state.accelerator.mixed_precision, "float32")
        self.dtype = _DTYPES.get(precision or told)
        self.state, self.schedulers, self.clip_norm = state, schedulers, clip_norm
        self.optimizers = state.optimizers
        self.world = state.accelerator.num_processes
        self.mean_at_once = accumulate == 1 and self.world == 1
        self.scaler = torch.amp.GradScaler(state.device.type, enabled=self.dtype is torch.float16)
        self.left = 0
        self.count: Any = 0
        self.active: tuple[str, ...] | None = None

    def start(self, batches: int) -> None:
        """Begin an update of so many batches."""
        self.left, self.count, self.active = batches, 0, None
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def exchange(self) -> Iterator[None]:
        """The context of one batch: processes exchange gradients only at the update's last."""
        self.left -= 1
        with ExitStack() as stack:
            if self.left and self.world > 1:
                for model in self.state.models.values():
                    stack.enter_context(getattr(model, "no_sync", nullcontext)())
            yield

    def autocast(self) -> AbstractContextManager[Any]:
        """The context of a forward pass: the precision."""
        if self.dtype is None:
            return nullcontext()
        return torch.autocast(self.state.device.type, dtype=self.dtype)

    def backward(self, loss: Loss) -> None:
        """Add the gradient of a loss."""
        if loss.optimizers is not None:
            self._activate(loss.optimizers)
        value = loss.sum
        if self.mean_at_once:
            value = value * _reciprocal(loss.count)
        else:
            self.count = self.count + loss.count
        self.scaler.scale(value).backward()  # type: ignore[no-untyped-call]

    def finish_gradients(self) -> None:
        """Turn summed gradients into means, and undo the loss scale."""
        if self.scaler.is_enabled():
            for optimizer in self._active_optimizers():
                self.scaler.unscale_(optimizer)
        if self.mean_at_once:
            return
        count = self.count
        if self.world > 1:  # data parallelism has divided the gradients by the processes
            total = torch.as_tensor(count, dtype=torch.float64).to(self.state.device)
            count = self.state.accelerator.reduce(total) / self.world
        factor = _reciprocal(count)
        if isinstance(factor, torch.Tensor):
            factor = factor.to(torch.float32)
        torch._foreach_mul_(
            [p.grad for p in self._active_parameters() if p.grad is not None], factor
        )

    def clip(self) -> None:
        """Scale the gradients down to the largest norm."""
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._active_parameters(), self.clip_norm)

    def step(self) -> None:
        """Step the optimizers and schedulers."""
        before = self.scaler.get_scale() if self.scaler.is_enabled() else 0.0
        for optimizer in self._active_optimizers():
            self.scaler.step(optimizer)
        if self.scaler.is_enabled():
            self.scaler.update()
            if self.scaler.get_scale() < before:  # gradients overflowed: no step was made
                return
        for scheduler in self.schedulers:
            scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """States of optimizers, schedulers and the loss scale."""
        return {
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.items()},
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up saved states."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for scheduler, kept in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(kept)
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])

    def _activate(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in self.optimizers:
                known = ", ".join(self.optimizers)
                raise InputError(
                    f"optimizers: expected names among {known}, got {name!r}"
                    + nearest_names(name, self.optimizers)
                )
        self.active = (*(self.active or ()), *names)

    def _active_parameters(self) -> list[torch.nn.Parameter]:
        return [
            parameter
            for optimizer in self._active_optimizers()
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]

    def _active_optimizers(self) -> list[torch.optim.Optimizer]:
        if self.active is None:
            return list(self.optimizers.values())
        return [optimizer for name, optimizer in self.optimizers.items() if name in self.active]


def _reciprocal(count: Any) -> Any:
    """1 / count, and 0 for nothing counted (an empty mask moves nothing)."""
    if isinstance(count, torch.Tensor):
        return torch.where(count > 0, 1.0 / count.clamp(min=torch.finfo(torch.float32).tiny), 0.0)
    return 1.0 / count if count else 0.0
