"""Heavy or optional packages, imported when they are first needed."""

import importlib
from types import ModuleType

from gradatim.core.errors import MissingPackageError


def require(module: str, *, extra: str | None = None, why: str = "") -> ModuleType:
    """Import a module, or say in one sentence how to install it.

    Args:
        module: dotted module name.
        extra: the extra of gradatim that brings it (``pip install 'gradatim[extra]'``); None if
            the package is installed under its own name.
        why: what it is needed for, as in "to read Parquet files".

    Raises:
        MissingPackageError: the module is not installed.

    >>> require("math").sqrt(9.0)
    3.0
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if error.name != package:
            raise
        command = f"pip install 'gradatim[{extra}]'" if extra else f"pip install {package}"
        reason = f" {why}" if why else ""
        raise MissingPackageError(
            f"package {package!r} is needed{reason} and is not installed; "
            f"install it with: {command}"
        ) from error
