"""From a paper's name to its study: the paper modules are a higher floor, found by name."""

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from gradatim.core.errors import InputError
from gradatim.studies.catalogue import Paper, find_paper
from gradatim.studies.claims import Budget, Claim, Items, Measurement

StudyFunction = Callable[[int, Budget], Iterator[Measurement | Items]]


@dataclass(frozen=True)
class Study:
    """A paper's study, as its module declares it.

    Attributes:
        paper: its entry in the catalogue.
        module: the module's dotted name.
        claims: what it puts to the test.
        population: of what the verdicts speak, as "5,000 MNIST digits, small MLP".
        function: (seed, budget) -> measurements.
        description: the module's docstring.
        figures: which plots to draw; empty for the default ones.
    """

    paper: Paper
    module: str
    claims: tuple[Claim, ...]
    population: str
    function: StudyFunction
    description: str
    figures: tuple[Any, ...] = ()


def load_study(slug: str, module: str | None = None) -> Study:
    """Import a paper's module and take its study from it.

    Args:
        slug: the paper.
        module: dotted name of another module that holds a study of this paper, as a user's own;
            None for the one that comes with gradatim.

    Raises:
        InputError: there is no such paper, its study is not there, or the module lacks a part.
    """
    paper = find_paper(slug)
    name = module or paper.module
    found = importlib.import_module(check_module(paper, name))
    claims = _required(found, "CLAIMS", tuple)
    if not claims or not all(isinstance(claim, Claim) for claim in claims):
        raise InputError(f"{name}: expected CLAIMS to hold at least one Claim and nothing else")
    return Study(
        paper,
        name,
        claims,
        _required(found, "POPULATION", str),
        _required(found, "study", Callable),  # type: ignore[arg-type]
        inspect.cleandoc(found.__doc__ or ""),
        tuple(getattr(found, "FIGURES", ())),
    )


def check_module(paper: Paper, module: str) -> str:
    """Check that a study's module can be found, and return its name.

    Raises:
        InputError: it cannot.
    """
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        what = "is not implemented yet" if module == paper.module else f"has no module {module!r}"
        raise InputError(f"{paper.slug}: the study {what}; `gradatim papers` tells which are")
    return module


def _required(module: ModuleType, name: str, kind: type) -> Any:
    value = getattr(module, name, None)
    if not isinstance(value, kind):
        raise InputError(
            f"{module.__name__}: expected {name} ({kind.__name__}), got {type(value).__name__}"
        )
    return value
