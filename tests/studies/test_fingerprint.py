from pathlib import Path

import pytest

from gradatim.core.errors import InputError
from gradatim.studies import fingerprint as module
from gradatim.studies.claims import Budget
from gradatim.studies.fingerprint import fingerprint, freshness, hash_source, parts_of
from gradatim.studies.ledger import Ledger

from .conftest import HEAD, PLAIN, SLUG

FILES = {
    "gradatim/__init__.py": "def __getattr__(name): ...",
    "gradatim/core/__init__.py": "",
    "gradatim/core/deep.py": "RATE = 0.1",
    "gradatim/core/other.py": "RATE = 0.2",
    "gradatim/objectives/__init__.py": "from gradatim.objectives.loss import loss",
    "gradatim/objectives/loss.py": "def loss():\n    from gradatim.core import deep",
    "gradatim/objectives/near.py": "from . import loss\nfrom ..core.other import RATE",
    "gradatim/studies/__init__.py": "",
    "gradatim/studies/claims.py": "import gradatim.core.other",
    "gradatim/studies/data/digits.py": "import gradatim.core.deep",
    "study.py": "",
}


@pytest.fixture
def tree(tmp_path: Path):
    """Write a small package and give the modules that its study depends on."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def parts(source: str) -> dict[str, str]:
        (tmp_path / "study.py").write_text(source)
        return parts_of(tmp_path / "study.py", tmp_path / "gradatim")

    return parts


@pytest.mark.parametrize(
    ("source", "modules"),
    [
        ("import torch", ""),
        ("from gradatim.core.deep import RATE", "core.deep"),
        ("import gradatim.core.deep as d, gradatim.core.other", "core.deep core.other"),
        ("from gradatim.core import deep", "core.deep"),
        ("def f():\n    from gradatim.objectives.loss import loss", "core.deep objectives.loss"),
        ("from gradatim.objectives import loss", "core.deep objectives.loss"),
        (
            "from gradatim.objectives.near import loss",
            "core.deep core.other objectives.loss objectives.near",
        ),
        ("from gradatim.studies.claims import Claim", ""),
        ("from gradatim.studies import Claim", ""),
        ("from gradatim.studies.data import digits", "core.deep studies.data.digits"),
    ],
)
def test_the_modules_that_count(tree, source, modules) -> None:
    assert list(tree(source)) == [f"gradatim.{name}" for name in modules.split()]


def test_a_name_that_a_package_defines_brings_the_package(tree, tmp_path: Path) -> None:
    (tmp_path / "gradatim/objectives/__init__.py").write_text(
        "from gradatim.core.deep import RATE as rate\nX: int = 1\nclass C: ...\n"
    )
    for name in ("rate", "X", "C"):
        found = tree(f"from gradatim.objectives import {name}")
        assert list(found) == ["gradatim.core.deep", "gradatim.objectives"]


@pytest.mark.parametrize(
    "source",
    [
        "from gradatim import fit",
        "import gradatim",
        "\nimport gradatim.core",
        "from gradatim import core",
    ],
)
def test_an_import_that_cannot_be_followed_is_refused(tree, source) -> None:
    with pytest.raises(InputError, match=r"study.py, line \d: import .* from the module that"):
        tree(source)


def test_a_change_in_a_part_of_a_part_is_seen(tree, tmp_path: Path) -> None:
    before = tree("from gradatim.objectives.loss import loss")
    (tmp_path / "gradatim/core/deep.py").write_text("RATE = 0.11")
    after = tree("from gradatim.objectives.loss import loss")
    assert {name for name in before if before[name] != after[name]} == {"gradatim.core.deep"}


SOURCE = '''
def f(x):
    """Say."""
    return {"a": x + 0.1}
'''


@pytest.mark.parametrize(
    ("source", "same"),
    [
        ('# why\ndef f(x):\n\n    """Say it\n    otherwise."""\n    return {\n  "a": x+.1,}', True),
        ('"""A module."""\ndef f(x):\n    return {\'a\': (x + 1e-1)}\n"""Said of f."""', True),
        (SOURCE.replace("0.1", "0.2"), False),
        (SOURCE.replace("0.1", "1"), False),
        (SOURCE.replace("x + 0.1", "x - 0.1"), False),
        (SOURCE.replace('"a"', '"b"'), False),
        (SOURCE.replace('"a"', 'b"a"'), False),
        (SOURCE.replace("return", "yield"), False),
        (SOURCE + "g = f", False),
    ],
)
def test_the_hash_sees_code_and_nothing_else(tmp_path: Path, source, same) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text(SOURCE)
    other.write_text(source)
    assert (hash_source(one) == hash_source(other)) is same


def test_the_hash_is_the_same_in_every_version_of_python(tmp_path: Path) -> None:
    file = tmp_path / "one.py"
    file.write_text('class A(B, c=1):\n    x: int = f"{y!r:>3}"\n    async def f(*a): ...\n')
    assert hash_source(file) == "dccd1ad855c99da7"


def test_freshness_names_what_changed(write_study, monkeypatch) -> None:
    use = "\nfrom gradatim.core.files import atomic_write\n"
    name = write_study(use + PLAIN)
    mark = fingerprint(SLUG, "full", name)
    assert set(mark.parts) == {"gradatim.core.errors", "gradatim.core.files"}
    assert mark.digest != fingerprint(SLUG, "smoke", name).digest
    ledger = Ledger(Path("npo.jsonl"), SLUG, Budget("full"), mark)
    assert freshness(ledger, name) == "fresh"
    write_study(use + "# The same, and slower.\n" + PLAIN, name)
    assert freshness(ledger, name) == "fresh"
    real = module.hash_source
    monkeypatch.setattr(
        module, "hash_source", lambda path: "0" if path.name == "errors.py" else real(path)
    )
    module._read_facts.cache_clear()
    assert freshness(ledger, name) == "parts changed: gradatim.core.errors"
    module._read_facts.cache_clear()
    write_study(use + PLAIN.replace("0.7", "0.71"), name, HEAD)
    assert freshness(ledger, name) == "study changed"
