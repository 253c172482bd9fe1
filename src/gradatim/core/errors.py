"""The errors a user can meet: one clear sentence each, which says what to mend."""

import difflib
from collections.abc import Iterable


class GradatimError(Exception):
    """Base of all errors that gradatim raises on purpose; the command line exits with code 2."""


class InputError(GradatimError, ValueError):
    """An argument, file, row or column is not what was expected."""


class StorageError(GradatimError, OSError):
    """A file could not be read or written; what was there before is untouched."""


class MissingPackageError(GradatimError, ImportError):
    """An optional package or a data package is not installed."""


def nearest_names(name: str, known: Iterable[str], limit: int = 3) -> str:
    """Say which known names are nearest to a name that is not known.

    Args:
        name: what the user wrote.
        known: the names that exist.
        limit: how many to list at most.

    Returns:
        ``" Did you mean a, b?"`` with a leading blank, or an empty string if nothing is near.

    >>> nearest_names("pskd", ["ps-kd", "npo"])
    ' Did you mean ps-kd?'
    >>> nearest_names("zzz", ["ps-kd", "npo"])
    ''
    """
    near = difflib.get_close_matches(name, list(known), n=limit, cutoff=0.5)
    return f" Did you mean {', '.join(near)}?" if near else ""
