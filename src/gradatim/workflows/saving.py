"""Writing results into a folder of the user's, where nothing may be lost."""

import os
from collections.abc import Iterable
from pathlib import Path

from gradatim.core.files import check_output_folder, check_writable


def check_files(
    folder: str | os.PathLike[str],
    names: Iterable[str],
    *,
    overwrite: bool = False,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Path:
    """Check, before long work, that files of these names may be written into a folder.

    Args:
        folder: where to; it is made.
        names: of the files.
        overwrite: whether those that stand there may be replaced.
        inputs: files that are never replaced.

    Returns:
        The folder.

    Raises:
        InputError: a file is there and may not be replaced, or is an input.
        StorageError: the folder cannot be written.
    """
    target, inputs = check_output_folder(folder), list(inputs)
    for name in names:
        check_writable(target / name, overwrite=overwrite, inputs=inputs)
    return target
