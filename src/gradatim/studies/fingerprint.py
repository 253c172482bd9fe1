"""Which code a study's numbers depend on, and whether it has changed since they were measured.

The modules of gradatim that a paper module imports, directly or not, are found in the source, and
each is hashed over its syntax tree without docstrings: comments, formatting and documentation do
not make a ledger stale.
"""

import ast
import importlib.util
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import gradatim
from gradatim.core.errors import InputError
from gradatim.studies.catalogue import find_paper
from gradatim.studies.ledger import Fingerprint, Ledger, digest_of
from gradatim.studies.registry import check_module

_PACKAGE = "gradatim"
_ROOT = Path(gradatim.__path__[0])

_RUNS_STUDIES = ("gradatim.studies", "gradatim.cli")
_HOLDS_DATA = "gradatim.studies.data"


def fingerprint(slug: str, budget: str, module: str | None = None) -> Fingerprint:
    """Hash a paper module and every module of gradatim that it uses.

    What runs and shows studies (``gradatim.studies`` but its ``data``, and ``gradatim.cli``) does
    not count.

    Args:
        slug: the paper.
        budget: the budget of the run.
        module: as in :func:`~gradatim.studies.registry.load_study`.

    Raises:
        InputError: there is no such paper, its study is not there, or a name is imported from a
            package that does not say where it comes from.
    """
    paper = find_paper(slug)
    name = check_module(paper, module or paper.module)
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise InputError(f"{name}: expected a module with a source file")
    source = Path(spec.origin)
    return Fingerprint(hash_source(source), parts_of(source, _ROOT), str(budget))


def freshness(ledger: Ledger, module: str | None = None) -> str:
    """Say whether the code is still the one that a ledger was measured with.

    Returns:
        "fresh", "study changed", or "parts changed: " and the modules.
    """
    return describe_change(ledger.fingerprint, fingerprint(ledger.slug, ledger.budget, module))


def describe_change(before: Fingerprint, after: Fingerprint) -> str:
    """Say what differs between two fingerprints, in the words of :func:`freshness`.

    >>> before = Fingerprint("0", {"gradatim.core.files": "1"}, "full")
    >>> describe_change(before, Fingerprint("0", {"gradatim.core.files": "2"}, "full"))
    'parts changed: gradatim.core.files'
    """
    if before.study != after.study:
        return "study changed"
    names = sorted(before.parts.keys() | after.parts.keys())
    changed = [name for name in names if before.parts.get(name) != after.parts.get(name)]
    return f"parts changed: {', '.join(changed)}" if changed else "fresh"


def parts_of(source: Path, root: Path) -> dict[str, str]:
    """The modules of gradatim that a file imports, directly or not, with their hashes.

    Args:
        source: the file.
        root: the folder of the package ``gradatim``.
    """
    hashes: dict[str, str] = {}
    waiting = list(_facts(source, root).imports)
    while waiting:
        name = waiting.pop()
        path = _file_of(name, root)
        if name not in hashes and path is not None:
            facts = _facts(path, root)
            hashes[name] = facts.digest
            waiting.extend(facts.imports)
    return dict(sorted(hashes.items()))


def hash_source(path: Path) -> str:
    """Hash a Python file over its syntax tree, without docstrings."""
    return digest_of("".join(_canonical(_parse(path))))


class _Facts(NamedTuple):
    """What matters of a source file: its hash, and the modules of gradatim that it imports."""

    digest: str
    imports: tuple[str, ...]


def _facts(path: Path, root: Path) -> _Facts:
    state = path.stat()
    return _read_facts(path, root, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=1024)
def _read_facts(path: Path, root: Path, stamp: tuple[int, int]) -> _Facts:
    """Parse a file once while it stands unchanged: the 69 papers share most of their parts."""
    return _Facts(hash_source(path), tuple(filter(_counts, _imports(path, root))))


def _counts(module: str) -> bool:
    data = module == _HOLDS_DATA or module.startswith(f"{_HOLDS_DATA}.")
    return data or not any(module == it or module.startswith(f"{it}.") for it in _RUNS_STUDIES)


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


def _canonical(node: object) -> Iterator[str]:
    """Write a syntax tree in a form that does not vary with the version of Python.

    ``ast.dump`` does: newer versions add empty fields. Empty fields and statements that are
    nothing but a string are left out.
    """
    if isinstance(node, ast.AST):
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if value is not None and value != [] and name not in ("ctx", "kind", "type_comment"):
                yield f"{name}="
                yield from _canonical(value)
        yield ")"
    elif isinstance(node, list):
        for child in node:
            if not _is_docstring(child):
                yield from _canonical(child)
                yield ";"
    else:
        yield f"{type(node).__name__}:{node!r}"


def _is_docstring(node: object) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(path: Path, root: Path) -> Iterator[str]:
    """The modules of gradatim that a file names in its imports, wherever they stand in it."""
    for node in ast.walk(_parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == _PACKAGE:
                    yield _origin(alias.name, "", f"{path.name}, line {node.lineno}", root)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path, root)
            if base.split(".")[0] == _PACKAGE:
                for alias in node.names:
                    yield _origin(base, alias.name, f"{path.name}, line {node.lineno}", root)


def _absolute(node: ast.ImportFrom, path: Path, root: Path) -> str:
    """The module that ``from X import`` means; relative ones by the file's place in the package."""
    if node.level == 0:
        return node.module or ""
    if not path.is_relative_to(root):
        return ""
    parents = [_PACKAGE, *path.relative_to(root).parent.parts]
    kept = parents[: len(parents) - node.level + 1]
    return ".".join([*kept, *(node.module or "").split(".")]).rstrip(".")


def _origin(base: str, name: str, where: str, root: Path) -> str:
    """The module that holds ``name`` of ``from base import name``; "" is ``import base``."""
    if name and _file_of(f"{base}.{name}", root) is not None:
        return _origin(f"{base}.{name}", "", where, root)
    file = _file_of(base, root)
    if file is None or file.name != "__init__.py" or not _counts(base):
        return base
    if name in _bound_names(_parse(file)):
        return base
    raise InputError(
        f"{where}: import {name or base!r} from the module that defines it, not from the package "
        f"{base!r}, so that the study's fingerprint can follow it"
    )


def _bound_names(tree: ast.Module) -> set[str]:
    """The names that a package defines or imports at its top level."""
    bound: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            bound.update(target.id for target in targets if isinstance(target, ast.Name))
    return bound


def _file_of(module: str, root: Path) -> Path | None:
    """The source of a module of gradatim: a file, or a package's ``__init__.py``."""
    place = root.joinpath(*module.split(".")[1:])
    for path in (place.with_suffix(".py"), place / "__init__.py"):
        if path.is_file():
            return path
    return None
