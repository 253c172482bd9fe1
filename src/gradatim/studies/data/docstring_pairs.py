"""Summaries of functions and classes as queries, and the rest of their docstrings as documents."""

import ast
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from gradatim.core.cache import FeatureCache
from gradatim.core.errors import MissingPackageError
from gradatim.core.lexical_search import words
from gradatim.studies.data.docstrings import PACKAGES

_QUERY_WORDS = range(4, 41)
_LEAST_WORDS = 15
_SAME = 0.8
_BLOCK = 512


@dataclass(frozen=True)
class DocstringPairs:
    """Queries, each with one document.

    Attributes:
        queries: N summary paragraphs.
        documents: the first words of what follows each.
        scopes: the class, or the file, that each stands in.
    """

    queries: tuple[str, ...]
    documents: tuple[str, ...]
    scopes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.queries)


def docstring_pairs(*, longest: int = 80, most_files: int = 10_000) -> DocstringPairs:
    """Docstrings of public functions and classes of six installed packages, cut after the summary.

    Sources are read, not imported; texts depend on the packages' versions. Documents whose words
    are those of another one by 0.8 (Jaccard) are left out, for they would answer its query too.

    Args:
        longest: words of a document that are kept.
        most_files: files of each package that are read, the first ones.

    Returns:
        All pairs with a summary of 4 to 40 words, none of which occurs twice, and a document of at
        least 15; about 6,700.

    Raises:
        MissingPackageError: a package is not installed.
    """
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    table = FeatureCache().get_or_compute(
        versions, "docstring pairs", _collect, longest=longest, most_files=most_files, version=1
    )
    queries, documents, scopes = (tuple(map(str, column)) for column in table.T)
    return DocstringPairs(queries, documents, scopes)


def _version(package: str) -> str:
    distribution = "scikit-learn" if package == "sklearn" else package
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise MissingPackageError(
            f"package {distribution!r} is not installed: pip install {distribution}"
        ) from None


def _collect(
    versions: list[str], model: str, *, longest: int, most_files: int, version: int
) -> NDArray[np.str_]:
    """Summary, document and scope of every pair, shape [N, 3]."""
    seen: set[str] = set()
    found = []
    for package in PACKAGES:
        for query, document, scope in _pairs(package, most_files):
            if query not in seen:
                seen.add(query)
                found.append((query, " ".join(document.split()[:longest]), scope))
    kept = _different([document for _, document, _ in found])
    return np.array([found[place] for place in kept])


def _pairs(package: str, most_files: int) -> Iterator[tuple[str, str, str]]:
    """Pairs of a package, file by file, tests left out."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        paths = [path for path in sorted(Path(folder).rglob("*.py")) if "tests" not in path.parts]
        for path in paths[:most_files]:
            tree = ast.parse(path.read_text(encoding="utf-8"))
            yield from _walk(tree, str(path.relative_to(Path(folder).parent)))


def _walk(node: Any, scope: str) -> Iterator[tuple[str, str, str]]:
    """Pairs below a node; methods stand in the scope of their class."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.ClassDef) and child.name[0] != "_":
            summary, _, rest = (ast.get_docstring(child) or "").partition("\n\n")
            query, document = (" ".join(text.split()) for text in (summary, rest))
            if len(query.split()) in _QUERY_WORDS and len(document.split()) >= _LEAST_WORDS:
                yield query, document, scope
        inner = f"{scope}:{child.name}" if isinstance(child, ast.ClassDef) else scope
        yield from _walk(child, inner)


def _different(documents: list[str]) -> list[int]:
    """Positions of documents that are no near copies of an earlier one that is kept."""
    vocabulary: dict[str, int] = {}
    rows, columns = [], []
    for row, document in enumerate(documents):
        for word in set(words(document)):
            rows.append(row)
            columns.append(vocabulary.setdefault(word, len(vocabulary)))
    shape = (len(documents), len(vocabulary))
    held: Any = sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape)
    size = np.asarray(held.sum(axis=1)).ravel()
    dropped = np.zeros(len(documents), dtype=bool)
    for start in range(0, len(documents), _BLOCK):
        shared = (held[start : start + _BLOCK] @ held.T).tocoo()
        row, column = shared.row + start, shared.col
        same = (column < row) & (shared.data >= _SAME * (size[row] + size[column] - shared.data))
        for later, earlier in sorted(zip(row[same], column[same], strict=True)):
            dropped[later] |= not dropped[earlier]
    return np.flatnonzero(~dropped).tolist()
