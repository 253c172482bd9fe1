"""The generated reference has a page for every public module, and shows docstrings readably."""

import importlib.util
import itertools
import pkgutil
from pathlib import Path

import pytest

import gradatim

GENERATOR = Path(__file__).parents[1] / "docs/generator"


def load(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", GENERATOR / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference():
    return load("reference")


def importable():
    """The public modules, as the import system finds them."""
    found, folders = {"gradatim"}, [("gradatim.", list(gradatim.__path__))]
    while folders:
        prefix, paths = folders.pop()
        for module in pkgutil.iter_modules(paths, prefix):
            if not module.name.rpartition(".")[2].startswith("_"):
                found.add(module.name)
                if module.ispkg:
                    inside = [str(Path(path) / module.name.rpartition(".")[2]) for path in paths]
                    folders.append((f"{module.name}.", inside))
    return found


def leaves(branches):
    for branch in branches:
        if isinstance(branch, str):
            yield branch
        else:
            (inside,) = branch.values()
            yield from [inside] if isinstance(inside, str) else leaves(inside)


def test_every_public_module_has_a_page_in_the_navigation(reference):
    pages = reference.pages()
    shown = {text.split("\n")[0].removeprefix("::: "): path for path, text in pages.items()}
    assert shown.keys() == importable()
    listed = list(leaves(reference.navigation()))
    assert sorted(listed) == sorted(pages) == sorted(set(listed))


def test_private_modules_are_left_out(reference, tmp_path, monkeypatch):
    package = tmp_path / "gradatim"
    for path in ("core/__init__.py", "core/_hidden.py", "core/_inside/part.py", "core/shown.py"):
        (package / path).parent.mkdir(parents=True, exist_ok=True)
        (package / path).write_text('"""Told of :func:`~a.b` in\ntwo lines.\n\nAnd more."""')
    monkeypatch.setattr(reference, "PACKAGE", package)
    told = dict.fromkeys(["gradatim.core", "gradatim.core.shown"], "Told of `a.b` in two lines.")
    assert reference.modules() == told


def test_folders_stand_in_the_order_of_the_floors(reference, tmp_path, monkeypatch):
    folders = reference.folders()
    assert folders[0] == "core" and folders[-1] == "cli"
    floor = {name: height for height, floor in enumerate(reference.floors()) for name in floor}
    heights = [floor[name] for name in folders]
    assert heights == sorted(heights)
    assert [next(iter(branch)) for branch in reference.navigation()[1:]] == folders
    (tmp_path / "cellar").mkdir()
    (tmp_path / "cellar/__init__.py").touch()
    monkeypatch.setattr(reference, "PACKAGE", tmp_path)
    with pytest.raises(ValueError, match="no floor for cellar"):
        reference.folders()


def test_a_folders_page_lists_what_it_holds(reference):
    told, pages = reference.modules(), reference.pages()
    for folder, module in itertools.product(["gradatim.core", "gradatim.studies"], told):
        line = f"[`{module.rpartition('.')[2]}`][{module}] | {told[module]} |"
        assert (line in pages[reference.page_of(folder)]) == (module.rpartition(".")[0] == folder)


@pytest.fixture(scope="module")
def docstrings():
    for package in ("griffe", "latex2mathml"):
        pytest.importorskip(package, reason="needs the docs extra: pip install 'gradatim[docs]'")
    return load("docstrings")


def test_docstrings_become_markdown(docstrings):
    text = r"""Sum up.

    .. math:: A_i = \frac{b}{c}, \quad
        d

    With :math:`a_i` of :func:`~gradatim.core.search.top_k` in ``code``.

    Args:
        x: see :class:`gradatim.core.memory.ExampleMemory`, with numbers
            >= 0.

    >>> [1,
    ...  2][0]
    1

    After it."""
    made = docstrings.to_markdown(text).split("\n\n")
    assert made[0] == "Sum up." and made[-1] == "    After it."
    assert made[1].startswith("    <math") and "<mfrac>" in made[1]
    assert "<mi>d</mi>" in made[1] and made[1].endswith("</math>")
    assert made[2].startswith("    With <span><math") and "``code``" in made[2]
    assert "[`top_k`][gradatim.core.search.top_k]" in made[2]
    link = "[`gradatim.core.memory.ExampleMemory`][gradatim.core.memory.ExampleMemory]"
    assert made[3] == f"    Args:\n        x: see {link}, with numbers\n            &gt;= 0."
    assert made[4] == "    ```pycon\n    >>> [1,\n    ...  2][0]\n    1\n    ```"


def test_names_are_looked_up_from_where_they_stand(docstrings):
    griffe = pytest.importorskip("griffe")
    code = '''
from other import away

SHOWN = 1
"""Told."""

HIDDEN = 2

class Made(str):
    """Of :data:`SHOWN`, :data:`HIDDEN`, :func:`away` and :meth:`part`."""

    def __new__(cls, one): ...

    def part(self):
        """A part of :class:`Made`."""
'''
    with griffe.temporary_visited_package("there", {"__init__.py": code}) as package:
        docstrings.Docstrings().on_package(pkg=package, loader=None)
        text = package["Made"].docstring.value
    assert text == "Of [`SHOWN`][there.SHOWN], `HIDDEN`, `away` and [`part`][there.Made.part]."
    assert package["Made.part"].docstring.value == "A part of [`Made`][there.Made]."
    assert [one.name for one in package["Made"].parameters] == ["cls", "one"]
