"""Writing files so that a kill, a full disk or a slip of the user never costs anything.

A file or directory is written under a temporary name beside its place, flushed to the disk, and
then renamed: at every moment the old one or the new one is there, whole.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from gradatim.core.errors import InputError, StorageError

TEMPORARY_PREFIX = ".gradatim-"


@contextmanager
def atomic_write(
    path: str | os.PathLike[str],
    *,
    binary: bool = False,
    overwrite: bool = True,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Iterator[IO[Any]]:
    """Open a file for writing that appears under its name only when it is complete.

    Args:
        path: where the file is to stand; its folder is made.
        binary: open for bytes rather than UTF-8 text.
        overwrite: whether a file that stands there may be replaced.
        inputs: files that were read to make this one; none of them is ever overwritten.

    Yields:
        The open file. If the block raises, nothing has changed.

    Raises:
        InputError: the path is one of the inputs, or exists and may not be replaced.
        StorageError: the disk is full, or the folder cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "a.txt") as file:
    ...         _ = file.write("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    with atomic_path(path, overwrite=overwrite, inputs=inputs) as temporary:
        mode = {"mode": "wb"} if binary else {"mode": "w", "encoding": "utf-8", "newline": "\n"}
        with open(temporary, **mode) as file:  # type: ignore[call-overload]  # noqa: PTH123
            yield file


@contextmanager
def atomic_path(
    path: str | os.PathLike[str],
    *,
    overwrite: bool = True,
    inputs: Iterable[str | os.PathLike[str]] = (),
) -> Iterator[Path]:
    """Like :func:`atomic_write`, for writers that want a path: yields the temporary one."""
    target = Path(path)
    check_writable(target, overwrite=overwrite, inputs=inputs)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=TEMPORARY_PREFIX, dir=target.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        _give_usual_permissions(temporary)
        synchronize_file(temporary)
        temporary.replace(target)
        synchronize_file(target.parent)
    except StorageError:  # of what is read while this is written
        raise
    except OSError as error:
        raise storage_error("writing", target, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a directory that appears under its name only when it is complete.

    Yields the temporary directory. A directory that stands there already is replaced. Leftovers
    of killed writers are removed with :func:`remove_leftovers`.
    """
    target = Path(path)
    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=target.parent))
        yield temporary
        for file in temporary.iterdir():
            synchronize_file(file)
        synchronize_file(temporary)
        _replace_directory(temporary, target)
        synchronize_file(target.parent)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error("writing", target, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def check_writable(
    path: Path, *, overwrite: bool = True, inputs: Iterable[str | os.PathLike[str]] = ()
) -> None:
    """Check before long work that a file may be written where it is wanted.

    Raises:
        InputError: the path is a directory, is one of the inputs, or exists and may not be
            replaced.
    """
    if path.is_dir():
        raise InputError(f"{path}: expected a file to write, got a directory")
    for source in map(Path, inputs):
        if path.exists() and source.exists() and path.samefile(source):
            raise InputError(f"{path}: is an input of this job and is not overwritten")
    if not overwrite and path.exists():
        raise InputError(f"{path}: exists already and is not overwritten")


def check_output_folder(path: str | os.PathLike[str]) -> Path:
    """Make an output folder and check by a probe that files can be written there.

    Raises:
        StorageError: it cannot be made, or cannot be written.
    """
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise StorageError(f"{folder}: expected a folder to write to, got a file")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=TEMPORARY_PREFIX, dir=folder):
            pass
    except OSError as error:
        raise storage_error("writing to", folder, error) from error
    return folder


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and directories that killed writers left in a folder."""
    for leftover in folder.glob(f"{TEMPORARY_PREFIX}*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def storage_error(doing: str, path: Path, error: OSError) -> StorageError:
    """Turn an ``OSError`` into one sentence that names the file and the cause."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        cause = "the disk is full"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        cause = "permission denied"
    else:
        cause = error.strerror or str(error)
    kept = "; what stood there is unchanged" if doing.startswith("writing") else ""
    return StorageError(f"{path}: {doing} failed: {cause}{kept}")


def synchronize_file(path: Path) -> None:
    """Flush a file or directory to the disk (a directory where the file system can)."""
    tolerated = (OSError,) if path.is_dir() else ()
    handle = os.open(path, os.O_RDONLY)
    try:
        with suppress(*tolerated):
            os.fsync(handle)
    finally:
        os.close(handle)


def _give_usual_permissions(path: Path) -> None:
    """Give a ``mkstemp`` file the permissions that an ordinary new file gets."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def _replace_directory(new: Path, target: Path) -> None:
    """Rename a directory into place, over an older one if there is one."""
    if target.exists():
        aside = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX, dir=target.parent)) / "old"
        target.rename(aside)
        new.rename(target)
        shutil.rmtree(aside.parent, ignore_errors=True)
    else:
        new.rename(target)
