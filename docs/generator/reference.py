"""The API reference: a page for each public module, folder by folder, from the ground floor up.

A hook of MkDocs. What there is comes from the source, and the order of the folders from the floors
that ``lint-imports`` checks, so that the reference has no list that could go stale.
"""

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/gradatim"
TITLE = "Reference"
FOLDER = "reference"

_ROLE = re.compile(r":\w+:`~?([\w.]+)`")


def on_config(config: "MkDocsConfig") -> "MkDocsConfig":
    """Hang the reference at the end of the navigation."""
    assert config.nav is not None
    config.nav.append({TITLE: navigation()})
    return config


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the pages, which stand in no file."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def modules() -> dict[str, str]:
    """The public modules with the first sentence of each, by dotted name, folders among them."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
        names = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(name.startswith("_") for name in names):
            found[".".join(names)] = _first_sentence(file)
    return found


@cache
def _first_sentence(file: Path) -> str:
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return _ROLE.sub(r"`\1`", " ".join(text.split("\n\n")[0].split()))


def floors() -> list[list[str]]:
    """The folders of each floor, lowest floor first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = settings["tool"]["importlinter"]["contracts"][0]["layers"]
    return [re.findall(r"\w+", layer) for layer in reversed(layers)]


def folders() -> list[str]:
    """The folders that hold modules, in the order of the floors.

    Raises:
        ValueError: a folder stands on no floor.
    """
    there = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    ordered = [name for floor in floors() for name in floor if name in there]
    if homeless := there - set(ordered):
        raise ValueError(f"pyproject.toml, importlinter: no floor for {', '.join(homeless)}")
    return ordered


def page_of(module: str) -> str:
    """The page that a module stands on.

    >>> page_of("gradatim.core.search")
    'reference/core/search.md'
    >>> page_of("gradatim.core")
    'reference/core/index.md'
    """
    inside = module.split(".")[1:]
    name = "index" if (PACKAGE.joinpath(*inside) / "__init__.py").is_file() else inside.pop()
    return "/".join([FOLDER, *inside, f"{name}.md"])


def pages() -> dict[str, str]:
    """The text of every page, by its path below the documentation's folder."""
    told = modules()
    return {page_of(name): _page(name, told) for name in told}


def navigation() -> list[Any]:
    """The reference as MkDocs takes a navigation: nested lists of pages and titled lists."""
    told = modules()
    return [page_of("gradatim"), *({name: _branch(f"gradatim.{name}", told)} for name in folders())]


def _branch(folder: str, told: dict[str, str]) -> list[Any]:
    """A folder's own page, its folders, and its modules."""
    inside = _inside(folder, told)
    branches = [name for name in inside if _is_folder(name)]
    leaves = [name for name in inside if not _is_folder(name)]
    return [
        page_of(folder),
        *({_last(name): _branch(name, told)} for name in branches),
        *({_last(name): page_of(name)} for name in leaves),
    ]


def _page(module: str, told: dict[str, str]) -> str:
    if not _is_folder(module):
        return f"::: {module}\n"
    inside = [f"gradatim.{name}" for name in folders()]
    listed = inside if module == "gradatim" else _inside(module, told)
    lines = [f"| [`{_last(name)}`][{name}] | {told[name]} |" for name in listed]
    table = ["| | |", "| --- | --- |", *lines] if lines else []
    return "\n".join([f"::: {module}", "    options:", "      members: false", "", *table, ""])


def _inside(folder: str, told: dict[str, str]) -> list[str]:
    return [name for name in told if name.rpartition(".")[0] == folder]


def _is_folder(module: str) -> bool:
    return page_of(module).endswith("/index.md")


def _last(module: str) -> str:
    return module.rpartition(".")[2]
