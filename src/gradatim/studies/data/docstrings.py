"""Summaries of functions and classes, whose class is the Python package that they stand in."""

import ast
import importlib.metadata
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gradatim.core.cache import FeatureCache
from gradatim.core.errors import MissingPackageError
from gradatim.core.seeds import numpy_generator

PACKAGES = ("matplotlib", "networkx", "numpy", "pandas", "scipy", "sklearn")
"""Packages of one trade, all of which gradatim itself needs."""

_DISTRIBUTIONS = {"sklearn": "scikit-learn"}
_NAMES = re.compile(
    r"(?i)\b(matplotlib|networkx|numpy|pandas|scipy|sklearn|scikit-learn|mpl|np|nx)\b"
)
_WORDS = range(5, 61)


@dataclass(frozen=True)
class Docstrings:
    """Texts and their classes.

    Attributes:
        texts: N summaries, the packages' names struck out.
        labels: position of each text's package in ``classes``, shape [N].
        classes: names of the packages.
        descriptions: a sentence on each package: the summary in its metadata.
    """

    texts: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    descriptions: tuple[str, ...]


def docstring_summaries(per_package: int = 400, *, most_files: int = 10_000) -> Docstrings:
    """Summary paragraphs of public functions and classes of six installed packages.

    Their sources are read, not imported. Texts depend on the packages' versions.

    Args:
        per_package: texts of each package, drawn from those of 5 to 60 words.
        most_files: files of each package that are read, the first ones.

    Returns:
        The texts, package by package; none occurs twice. Fewer where a package has fewer.

    Raises:
        MissingPackageError: a package is not installed.
    """
    versions = [f"{name} {_metadata(name)['Version']}" for name in PACKAGES]
    table = FeatureCache().get_or_compute(
        versions,
        "docstring summaries",
        _collect,
        per_package=per_package,
        most_files=most_files,
        version=1,
    )
    descriptions = (_anonymous(_metadata(name)["Summary"]) for name in PACKAGES)
    return Docstrings(
        tuple(map(str, table[:, 1])),
        np.array([PACKAGES.index(name) for name in table[:, 0]]),
        PACKAGES,
        tuple(descriptions),
    )


def _metadata(package: str) -> importlib.metadata.PackageMetadata:
    name = _DISTRIBUTIONS.get(package, package)
    try:
        return importlib.metadata.metadata(name)
    except importlib.metadata.PackageNotFoundError:
        raise MissingPackageError(
            f"package {name!r} is not installed: pip install {name}"
        ) from None


def _collect(
    versions: list[str], model: str, *, per_package: int, most_files: int, version: int
) -> NDArray[np.str_]:
    """Package and text of every example, shape [N, 2]; packages stand with their versions."""
    seen: set[str] = set()
    found: list[tuple[str, str]] = []
    for entry in versions:
        package = entry.split()[0]
        fresh = [
            text for text in dict.fromkeys(_summaries(package, most_files)) if text not in seen
        ]
        order = numpy_generator(0, "docstrings", package).permutation(len(fresh))[:per_package]
        found += [(package, fresh[place]) for place in np.sort(order)]
        seen.update(fresh)
    return np.array(found)


def _summaries(package: str, most_files: int) -> Iterator[str]:
    """First paragraphs of docstrings, file by file, tests left out."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        paths = [path for path in sorted(Path(folder).rglob("*.py")) if "tests" not in path.parts]
        for path in paths[:most_files]:
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
                    paragraph = (ast.get_docstring(node) or "").partition("\n\n")[0]
                    text = _anonymous(" ".join(paragraph.split()))
                    if len(text.split()) in _WORDS:
                        yield text


def _anonymous(text: str) -> str:
    return " ".join(_NAMES.sub("", text).split())
