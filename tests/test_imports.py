"""Everything can be imported without the packages that only extras bring."""

import subprocess
import sys
import tomllib
from pathlib import Path

import gradatim

SOURCE = Path(gradatim.__path__[0]).resolve().parent
OPTIONAL = (
    *("transformers", "tokenizers", "peft", "trl", "gguf", "math_verify", "reasoning_gym"),
    *("sentence_transformers", "faiss", "lightgbm", "ray", "lightning"),
)

IMPORT_ALL = f"""
import importlib, pkgutil, sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None
sys.path.insert(0, {str(SOURCE)!r})
import gradatim
names = [module.name for module in pkgutil.walk_packages(gradatim.__path__, "gradatim.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
assert callable(gradatim.evaluate_easy_to_hard) and callable(gradatim.load_task)
print(len(names))
"""


def test_without_the_extras():
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 50


def test_the_core_does_not_depend_on_them():
    project = SOURCE.parent / "pyproject.toml"
    if project.exists():
        needed = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
        names = {one.split(">")[0].replace("-", "_") for one in needed}
        assert not names & set(OPTIONAL)
