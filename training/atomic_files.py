# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Files and folders that are whole or absent: written aside under a name of their own, then renamed.

The name aside tells which machine and process writes and what it will become, so that a later run removes what a killed
one left behind, and nothing of one that still runs.
"""

import ctypes
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

_HOST = re.sub(r"\W", "_", platform.node(), flags=re.A)[:32] or "host"
_ASIDE = re.compile(r"\.(?P<kind>partial|previous)-(?P<host>\w+)-(?P<pid>\d+)-(?P<name>.+)", re.S)
_OTHER_HOST_SECONDS = 24 * 3600  # after which what another machine left is taken for dead
_LOCK_NAME = ".writing"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


class FolderInUseError(RuntimeError):
    """Another process writes into the same folder."""


@contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """
    Yields the path at which to write a file or a folder, and renames what is there to `path` at the end.

    What had that name before is replaced. After an error nothing new is left, and what was there before stays.

    Args:
        path: The final name; folders above it are made. Of a link, what it points to is written.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers_once(path.parent)
    aside = aside_path(path)
    _delete(aside)
    try:
        yield aside
        _settle(aside)
        move_into_place(aside, path)
    finally:
        _delete(aside)


@contextmanager
def claim_folder(folder: str | Path) -> Iterator[None]:
    """
    Makes a folder and keeps other processes from claiming it; the claim ends with the process, however that ends.

    Raises:
        FolderInUseError: Another process has claimed it.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # not on Windows, where nothing is claimed
        yield
        return
    path = Path(folder) / _LOCK_NAME
    with open(path, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            lost = os.fstat(stream.fileno()).st_nlink == 0  # its owner has just ended and removed it
        except OSError:
            lost = True
        if lost:
            raise FolderInUseError(
                f"another process is writing into {str(folder)!r}; wait until it has ended, or choose another folder"
            )
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def aside_path(path: Path, kind: str = "partial") -> Path:
    """Returns the name beside `path` under which this process writes what will become `path`."""
    return path.with_name(f".{kind}-{_HOST}-{os.getpid()}-{path.name}")


def move_into_place(aside: Path, path: Path):
    """Gives a file or folder its final name and deletes what had it; on Linux the name never points to nothing."""
    if not path.is_dir():
        os.replace(aside, path)
    elif _exchange(aside, path):
        _delete(aside)
    else:
        previous = aside_path(path, "previous")
        os.replace(path, previous)
        os.replace(aside, path)
        _delete(previous)


def remove_whole(folder: Path):
    """Deletes a folder, its name before its content, so that a half-deleted one is never found."""
    if folder.exists():
        os.replace(folder, aside_path(folder))
        _delete(aside_path(folder))


def remove_leftovers(folder: str | Path):
    """Deletes what killed processes were writing in a folder; what one was replacing gets its name back."""
    for leftover in Path(folder).glob(".p*-*"):
        match = _ASIDE.fullmatch(leftover.name)
        if match is None or not _is_dead(leftover, match["host"], int(match["pid"])):
            continue
        final = leftover.with_name(match["name"])
        if match["kind"] == "previous" and not final.exists():
            os.replace(leftover, final)
        else:
            _delete(leftover)


@cache
def _remove_leftovers_once(folder: Path):
    remove_leftovers(folder)


def _is_dead(leftover: Path, host: str, pid: int) -> bool:
    if host != _HOST:
        return time.time() - leftover.lstat().st_mtime > _OTHER_HOST_SECONDS
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it belongs to another user
        pass
    return False


def _settle(aside: Path):
    """Gives what was written the permissions of any new file, which safetensors takes away, and puts it on the disk."""
    probe = aside.with_name(f"{aside.name}.mode")
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for path in aside.rglob("*") if aside.is_dir() else [aside]:
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)
    if aside.is_file():
        with open(aside, "rb") as stream:
            os.fsync(stream.fileno())


def _exchange(first: Path, second: Path) -> bool:
    """Swaps two names in one step; returns False where the system cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    names = os.fsencode(first), os.fsencode(second)
    return rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0


def _delete(path: Path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
