"""Small studies written to a folder of the test, under the slug of a paper of the catalogue."""

import importlib
import itertools
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

SLUG = "npo"

HEAD = '''
"""A fake study."""
import os
import time
from pathlib import Path

from gradatim.studies.claims import Claim, Items, Measurement

POPULATION = "no one"
CLAIMS = (Claim("A beats B.", lambda t: t["a"].accuracy - t["b"].accuracy),)
HERE = Path(__file__).parent

'''

PLAIN = """
def study(seed, budget):
    for arm, base in (("a", 0.7), ("b", 0.6)):
        yield Measurement(arm, "accuracy", base + seed / 97)
        for epoch in range(3):
            yield Measurement(arm, "accuracy", epoch / 7, f"epoch={epoch}")
"""

_counter = itertools.count()


@pytest.fixture
def write_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Write a module with ``study`` and return its name, which spawned processes can import."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def write(body: str = PLAIN, name: str = "", head: str = HEAD) -> str:
        name = name or f"fake_study_{next(_counter)}"
        (folder / f"{name}.py").write_text(head + body)
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return name

    return write


@pytest.fixture
def here():
    """A pool that runs the seeds in this process, where no spawned one is needed."""
    with ThreadPoolExecutor(1) as pool:
        yield pool
