"""Writing results into a folder of the user's, where nothing may be lost."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from gradatim.core.files import atomic_path, atomic_write, check_output_folder, check_writable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


class Reportable(ABC):
    """A result that writes a page, and shows the main part of it in a notebook."""

    @abstractmethod
    def _page(self) -> str:
        """The whole page."""

    @abstractmethod
    def _overview(self) -> str:
        """Its main part."""

    @abstractmethod
    def _inputs(self) -> Iterable[str]:
        """Files that were read, none of which is ever overwritten."""

    def report(
        self, path: str | os.PathLike[str] = "report.html", *, overwrite: bool = False
    ) -> Path:
        """Write one self-contained HTML page: no scripts, nothing fetched.

        Raises:
            InputError: a file stands there and may not be replaced, or is an input.
            StorageError: it cannot be written.
        """
        with atomic_write(path, overwrite=overwrite, inputs=self._inputs()) as stream:
            stream.write(self._page())
        return Path(path)

    def _save_picture(self, figure: "Figure", path: Path, *, overwrite: bool) -> None:
        """Write a figure as PNG."""
        with atomic_path(path, overwrite=overwrite, inputs=self._inputs()) as target:
            figure.savefig(target, format="png", dpi=150)

    def _repr_html_(self) -> str:
        return self._overview()
