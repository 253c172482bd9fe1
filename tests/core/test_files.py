"""Files appear whole or not at all, and nothing that stood there is lost."""

import errno
import os
import resource
import signal
import stat

import pytest

from gradatim.core import files
from gradatim.core.errors import InputError, StorageError
from gradatim.core.files import (
    atomic_directory,
    atomic_path,
    atomic_write,
    check_output_folder,
    remove_leftovers,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.write("new")
        raise ZeroDivisionError
    assert path.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_text_is_written_alike_everywhere(tmp_path):
    with atomic_write(tmp_path / "deep" / "a.txt") as file:
        file.write("é\n")
    assert (tmp_path / "deep" / "a.txt").read_bytes() == "é\n".encode()


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "a"):
        pass
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a")}
    assert len(modes) == 1


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_input_is_never_overwritten(tmp_path, link):
    source = target = tmp_path / "in.csv"
    source.write_text("x\n1\n")
    if link:
        target = tmp_path / "out.csv"
        link(source, target)
    with (
        pytest.raises(InputError, match="is an input of this job"),
        atomic_write(target, inputs=[source]) as file,
    ):
        file.write("gone")
    assert source.read_text() == "x\n1\n"


def test_existing_files_can_be_protected(tmp_path):
    (tmp_path / "a").write_text("old")
    with (
        pytest.raises(InputError, match="exists already and is not overwritten"),
        atomic_write(tmp_path / "a", overwrite=False),
    ):
        pass
    with pytest.raises(InputError, match="expected a file to write, got a directory"):
        atomic_path(tmp_path).__enter__()


@pytest.mark.parametrize(
    ("code", "cause"),
    [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"),
     (errno.EACCES, "permission denied"), (errno.EROFS, "permission denied")],
)  # fmt: skip
def test_errors_of_the_disk_are_told_in_words(tmp_path, monkeypatch, code, cause):
    path = tmp_path / "a"
    path.write_text("old")

    def fail(handle):
        raise OSError(code, "as the system says it")

    monkeypatch.setattr(os, "fsync", fail)
    told = f"{path.name}: writing failed: {cause}; what stood"
    with pytest.raises(StorageError, match=told), atomic_write(path) as file:
        file.write("new")
    assert path.read_text() == "old" and names(tmp_path) == ["a"]


def test_a_write_that_really_fails_halfway(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError), atomic_write(path, binary=True) as file:
            file.write(b"x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_text() == "old" and names(tmp_path) == ["a"]


def test_a_directory_appears_whole_and_replaces_an_older_one(tmp_path):
    for text in ("one", "two"):
        with atomic_directory(tmp_path / "d") as temporary:
            (temporary / "file").write_text(text)
            assert temporary.parent == tmp_path
    assert (tmp_path / "d" / "file").read_text() == "two" and names(tmp_path) == ["d"]


def test_a_failure_leaves_the_old_directory(tmp_path):
    (tmp_path / "d").mkdir()
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "d"):
        raise ZeroDivisionError
    assert names(tmp_path) == ["d"]


def test_an_output_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError, match="out: expected a folder to write to, got a file"):
        check_output_folder(tmp_path / "out")
    with pytest.raises(StorageError, match="a: writing failed"):
        atomic_write(tmp_path / "out" / "a").__enter__()


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    (tmp_path / f"{files.TEMPORARY_PREFIX}1").mkdir()
    (tmp_path / f"{files.TEMPORARY_PREFIX}2").write_text("")
    (tmp_path / "kept").write_text("")
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["kept"]
