"""The loop behind :func:`gradatim.training.fit.fit`: epochs, updates, events, checkpoints."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gradatim.core.seeds import derive_seed
from gradatim.training.batches import Batches
from gradatim.training.callbacks import EVENTS, Callback
from gradatim.training.checkpoint import (
    check_settings,
    load_checkpoint,
    load_weights,
    open_folder,
    save_checkpoint,
)
from gradatim.training.history import History
from gradatim.training.loading import Batch, Loader
from gradatim.training.processes import (
    gather_rows,
    read_random_state,
    seed_process,
    write_random_state,
)
from gradatim.training.step import Loss, State
from gradatim.training.update import Updater

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass
class Loop:
    """One run of training; the fields are the arguments of ``fit``, with defaults filled in."""

    models: dict[str, torch.nn.Module]
    single: bool
    examples: Any
    step: Callable[..., Loss]
    optimizers: dict[str, torch.optim.Optimizer]
    schedulers: list[Any]
    batches: Batches
    total_steps: int
    accumulate: int
    clip_norm: float | None
    precision: str | None
    callbacks: list[Callback]
    stateful: dict[str, Any]
    evaluate: Callable[..., Mapping[str, float]] | None
    evaluate_every: int | None
    log_every: int | None
    folder: Path | None
    checkpoint_every: int | None
    keep: int
    seed: int
    workers: int
    collate: Any
    accelerator: "Accelerator"
    progress_bar: bool | None
    history: History = field(default_factory=History)
    in_epoch: bool = False

    def __post_init__(self) -> None:
        for model in self.models.values():
            model.train()
        prepared = {name: self.accelerator.prepare_model(m) for name, m in self.models.items()}
        self.state = State(self.total_steps, self.seed, self.accelerator, prepared, self.optimizers)
        self.updater = Updater(
            self.state, self.schedulers, self.clip_norm, self.precision, self.accumulate
        )
        self.steps_per_epoch = -(-len(self.batches) // self.accumulate)
        self.loader = Loader(
            self.examples,
            self.batches,
            collate=self.collate,
            workers=self.workers,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            device=self.accelerator.device,
        )
        self.listeners = {
            event: [
                getattr(callback, event)
                for callback in self.callbacks
                if getattr(type(callback), event) is not getattr(Callback, event)
            ]
            for event in EVENTS
        }
        everything = [*self.stateful.values(), *self.callbacks]
        self.synchronized = [item for item in everything if hasattr(item, "synchronize")]

    def run(self) -> int:
        """Train from where the newest checkpoint stands; return that update's number."""
        state = self.state
        resumed_from = self._resume()
        self.emit("fit_start")
        with self._bar() as self.bar:
            while state.step < state.total_steps and not state.stop:
                self._epoch()
        self.emit("fit_end")
        return resumed_from

    def emit(self, event: str) -> None:
        """Tell the callbacks that listen."""
        for listener in self.listeners[event]:
            listener(self.state)

    def _epoch(self) -> None:
        """The rest of the current epoch."""
        state, updater = self.state, self.updater
        if not self.in_epoch:
            self.in_epoch = True
            self.emit("epoch_start")
        for index, batch in self._batches():
            if not updater.left:
                self.emit("step_start")
                updater.start(min(self.accumulate, len(self.batches) - state.position))
            self._forward_and_backward(index, batch)
            if updater.left:
                continue
            self._finish_update()
            if state.stop or state.step >= state.total_steps:
                return

    def _batches(self) -> Iterator[tuple[torch.Tensor, Batch]]:
        """The batches left in this epoch."""
        state, per_epoch = self.state, self.steps_per_epoch

        def progress(epoch: int, position: int) -> float:
            return min(1.0, (epoch * per_epoch + position // self.accumulate) / state.total_steps)

        return self.loader.epoch(state.epoch, state.position, progress)

    def _forward_and_backward(self, index: torch.Tensor, batch: Batch) -> None:
        """Add one batch's gradient."""
        state = self.state
        state.index = index
        key = derive_seed(self.seed, self.loader.rank, state.epoch, state.position)
        state.generator.manual_seed(key)
        with self.updater.exchange():
            with self.updater.autocast():
                loss = self.step(self._given_models(), batch, state)
            self.updater.backward(loss)
        self.history.add("loss", loss.sum.detach(), loss.count)
        for name, value in loss.logs.items():
            self.history.add(name, value, 1)
        state.position += 1

    def _finish_update(self) -> None:
        """Step the optimizers, and do what is due after the update."""
        state = self.state
        self.updater.finish_gradients()
        self.emit("gradients_ready")
        self.updater.clip()
        self.emit("optimizer_step_start")
        self.updater.step()
        state.step += 1
        self._synchronize()
        self.emit("step_end")
        self.bar.update()
        ended = state.position == len(self.batches)
        last = ended or state.stop or state.step == state.total_steps
        if evaluating := _due(state.step, self.evaluate_every, last):
            self._evaluate()
        if evaluating or _due(state.step, self.log_every, last):
            self._log(evaluating)
        if ended:
            self.emit("epoch_end")
            state.epoch, state.position, self.in_epoch = state.epoch + 1, 0, False
        finished = state.stop or state.step == state.total_steps
        if self.folder and (finished or _due(state.step, self.checkpoint_every, ended)):
            self._save()

    def _synchronize(self) -> None:
        """Bring per-example state to the same in all processes."""
        if self.loader.world > 1:
            for item in self.synchronized:
                item.synchronize(lambda rows: gather_rows(self.accelerator, rows))

    def _evaluate(self) -> None:
        """Run the evaluation in evaluation mode, without gradients."""
        if self.evaluate is None:
            return
        state = self.state
        training = [m for model in state.models.values() for m in model.modules() if m.training]
        for model in state.models.values():
            model.eval()
        with torch.no_grad():
            results = self.evaluate(self._given_models(), state)
        state.metrics = {name: float(value) for name, value in results.items()}
        for module in training:
            module.training = True
        self.emit("evaluated")

    def _log(self, evaluated: bool) -> None:
        """Close a row of the history."""
        state = self.state
        metrics = state.metrics if evaluated else {}
        row = self.history.close_row(state.step, state.epoch, metrics, self._add_up)
        if "loss" in row:
            self.bar.set_postfix(loss=f"{row['loss']:.4g}", refresh=False)

    def _given_models(self) -> Any:
        """The prepared models in the form that they were given in: one, or several by name."""
        return self.state.models["model"] if self.single else self.state.models

    def _add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum a tensor over processes."""
        if self.loader.world == 1:
            return tensor
        total: torch.Tensor = self.accelerator.reduce(tensor.to(self.accelerator.device))
        return total.cpu()

    @contextmanager
    def _bar(self) -> Iterator[Any]:
        """A progress bar on the main process."""
        from tqdm.auto import tqdm

        wanted = sys.stderr.isatty() if self.progress_bar is None else self.progress_bar
        hidden = not (wanted and self.accelerator.is_main_process)
        with tqdm(total=self.total_steps, initial=self.state.step, disable=hidden) as bar:
            yield bar

    def _settings(self) -> dict[str, Any]:
        """What must not change between the start of a run and its resumption."""
        return {
            "number of examples": len(self.examples),
            "batches an epoch": len(self.batches),
            "accumulate": self.accumulate,
            "total steps": self.total_steps,
            "seed": self.seed,
            "optimizers": sorted(self.optimizers),
            "callbacks": [type(callback).__name__ for callback in self.callbacks],
            "stateful": sorted(self.stateful),
        }

    def _weights(self) -> dict[str, torch.Tensor]:
        """Weights by name, with the model's name before them where there are several."""
        named = {name: self.state.unwrap(name).state_dict() for name in self.models}
        if self.single:
            return dict(named["model"])
        return {
            f"{m}/{key}": value for m, weights in named.items() for key, value in weights.items()
        }

    def _save(self) -> None:
        """Write a checkpoint, once, for all processes."""
        self.history.check_finite(self.state.step, self._add_up)
        self._synchronize()  # callbacks may have written since the update
        randoms = self._gather_random_states()
        if self.accelerator.is_main_process and self.folder is not None:
            state = {
                "settings": self._settings(),
                "place": [self.state.step, self.state.epoch, self.state.position, self.in_epoch],
                "metrics": self.state.metrics,
                "stop": self.state.stop,
                "random": randoms,
                "history": self.history.state_dict(),
                "updater": self.updater.state_dict(),
                "callbacks": [dict(callback.state_dict()) for callback in self.callbacks],
                "stateful": {name: dict(s.state_dict()) for name, s in self.stateful.items()},
                "batches": _state_of(self.batches),
            }
            save_checkpoint(self.folder, self.state.step, self._weights(), state, keep=self.keep)
        self.accelerator.wait_for_everyone()

    def _gather_random_states(self) -> list[Any]:
        """The random states of all processes, in rank order."""
        own = read_random_state()
        if self.loader.world == 1:
            return [own]
        from accelerate.utils import gather_object

        return list(gather_object([own]))

    def _resume(self) -> int:
        """Take up the newest checkpoint, if there is one; return its number of updates."""
        newest = None
        if self.folder is not None:
            with self.accelerator.main_process_first():
                newest = open_folder(self.folder)
        if newest is None:
            seed_process(self.seed, self.loader.rank)
            return 0
        weights, saved = load_checkpoint(newest)
        self._load_weights(weights, str(newest))
        check_settings(saved["settings"], self._settings(), str(newest))
        state = self.state
        state.step, state.epoch, state.position, self.in_epoch = saved["place"]
        state.metrics, state.stop = dict(saved["metrics"]), saved["stop"]
        self.history.load_state_dict(saved["history"], state.device)
        self.updater.load_state_dict(saved["updater"])
        for callback, kept in zip(self.callbacks, saved["callbacks"], strict=True):
            callback.load_state_dict(kept)
        for name, item in self.stateful.items():
            item.load_state_dict(saved["stateful"][name])
        if saved["batches"] is not None:
            self.batches.load_state_dict(saved["batches"])  # type: ignore[attr-defined]
        if self.loader.rank < len(saved["random"]):
            write_random_state(saved["random"][self.loader.rank])
        else:
            seed_process(derive_seed(self.seed, "resumed", state.step), self.loader.rank)
        return state.step

    def _load_weights(self, weights: dict[str, torch.Tensor], source: str) -> None:
        """Load weights into the models, all or none."""
        joined = torch.nn.Module()
        if self.single:
            joined = self.state.unwrap("model")
        else:
            weights = {name.replace("/", ".", 1): value for name, value in weights.items()}
            for name in self.models:
                joined.add_module(name, self.state.unwrap(name))
        load_weights(joined, weights, source)


def _due(step: int, every: int | None, otherwise: bool) -> bool:
    """Whether something is due that happens every so many updates, or else at a set time."""
    return otherwise if every is None else step % every == 0


def _state_of(batches: Batches) -> Any:
    """The state of a plan of batches that has one."""
    return batches.state_dict() if hasattr(batches, "state_dict") else None
