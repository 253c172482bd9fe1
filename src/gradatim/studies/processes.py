"""A pool that gives each call a process of its own, so that a death spoils one call only."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, ParamSpec, TypeVar

from gradatim.core.errors import GradatimError

P = ParamSpec("P")
T = TypeVar("T")


class ProcessDiedError(GradatimError, RuntimeError):
    """A process ended without handing back a result."""


class ProcessPerCall(Executor):
    """Runs each call in a fresh process, so many at once; the processes end with their parent.

    ``concurrent.futures.ProcessPoolExecutor`` gives up all calls when one process dies, does not
    tell which call it was, and leaves its processes behind if the parent is killed.

    Args:
        jobs: how many processes run at once.
    """

    def __init__(self, jobs: int) -> None:
        self._threads = ThreadPoolExecutor(jobs)
        self._context = multiprocessing.get_context("spawn")
        self._lock = threading.Lock()
        self._alive: set[BaseProcess] = set()
        self._killed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a call in a process of its own as soon as one of the ``jobs`` is free."""
        return self._threads.submit(self._call, fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; see :class:`concurrent.futures.Executor`."""
        self._threads.shutdown(wait=wait, cancel_futures=cancel_futures)

    def kill(self) -> None:
        """Kill the running processes and cancel the waiting calls."""
        with self._lock:
            self._killed = True
            for process in self._alive:
                process.kill()
        self.shutdown(cancel_futures=True)

    def _call(self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_serve, args=(sender, fn, args, kwargs))
        with self._lock:
            if self._killed:
                raise CancelledError
            process.start()
            self._alive.add(process)
        sender.close()
        try:
            with receiver:
                result: T = receiver.recv()
        except EOFError:
            process.join()
            raise ProcessDiedError(_manner_of_death(process.exitcode)) from None
        finally:
            process.join()
            with self._lock:
                self._alive.discard(process)
        return result


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for the processes started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(
    sender: Connection, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Run one call in the child: an interrupt is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sender.send(fn(*args, **kwargs))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _manner_of_death(exitcode: int | None) -> str:
    if exitcode is None:
        return "its process died before it was done"
    if exitcode < 0:
        with contextlib.suppress(ValueError):
            name = signal.Signals(-exitcode).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return f"its process was ended by {name}{hint}"
    return f"its process ended with exit code {exitcode} before it was done"
