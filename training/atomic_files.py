# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Files and folders that are whole or absent, written by one process at a time.

What is written lies aside under a name that tells its owner and age until it is renamed, so that a later run removes
what a killed one left behind, and nothing of one that still runs.
"""

import ctypes
import errno
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout
from safetensors import SafetensorError

_HOST = re.sub(r"\W", "_", platform.node(), flags=re.A)[:20] or "host"
with suppress(OSError):  # containers may share a name, but not their numbers of processes
    _HOST += "_" + re.sub(r"\D", "", os.readlink("/proc/self/ns/pid"))
_ASIDE = re.compile(r"\.(?P<kind>partial|previous)-(?P<host>\w+)-(?P<pid>\d+)-(?P<begun>\d+)-(?P<name>.+)", re.S)
_OTHER_HOST_SECONDS = 24 * 3600  # after which what another machine left is taken for dead
_CLOCK_SECONDS = 60  # by which a clock may have been set
_LOCK, _LOCK_SECONDS = ".writing", 0.5  # for which a process that has just been killed may still be ending
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


class FolderInUseError(OSError):
    """Another process writes the same."""


class WriteError(OSError):
    """
    Something cannot be written, for want of room above all; what had its name before is as it was.

    Args:
        path: Its final name.
        reason: What hinders.
        no_room: Whether room is what it needs.
    """

    def __init__(self, path: str | Path, reason: str, no_room: bool):
        self.path, self.reason, self.no_room = path, reason, no_room
        help_ = "make room and repeat the command: what was finished before is whole" if no_room else "name another"
        super().__init__(f"cannot write {str(path)!r} ({reason}); {help_}")

    def __reduce__(self):
        return type(self), (self.path, self.reason, self.no_room)


# ---- written aside ---------------------------------------------------------------------------------------------------


@contextmanager
def write_aside(path: str | Path, keep_others: bool = False) -> Iterator[Path]:
    """
    Yields the path at which to write a file or a folder, and renames what is there to `path` at the end.

    What had that name before is replaced. After an error nothing new is left, and what was there before stays.

    Args:
        path: The final name; folders above it are made. Of a link, what it points to is written, and a device or pipe
            is written as it is.

    Raises:
        WriteError: There is no room, or the folder cannot be written.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not (path.is_file() or path.is_dir()):
        yield path
        return
    with telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers_once(path.parent)
        aside = aside_path(path)
        try:
            yield aside
            _settle(aside)
            if keep_others:
                _add_missing(path, aside)
            move_into_place(aside, path)
        finally:
            _delete(aside)


def write_text(path: str | Path, text: str):
    """Writes a file of text, whole or not at all."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def other_than_planned(path: Path, plan: dict[str, Any]) -> list[str]:
    """Returns the names of what an earlier run planned otherwise in a file; it is written where there is none."""
    plan = json.loads(json.dumps(plan, default=str))
    if path.is_file():
        before = json.loads(path.read_text("utf-8"))
        return [name for name, value in plan.items() if before.get(name) != value]
    write_text(path, json.dumps(plan, indent=1, ensure_ascii=False) + "\n")
    return []


@contextmanager
def telling(path: str | Path) -> Iterator[None]:
    """Turns what hinders the writing of `path` into a `WriteError`, whichever library comes upon it."""
    path = Path(path)
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, WriteError):  # of a part of it
            raise WriteError(path, error.reason, error.no_room) from error
        number = error.errno if isinstance(error, OSError) else None
        if isinstance(error, SafetensorError) and (match := re.search(r"os error (\d+)", str(error))):
            number = int(match[1])
        named = getattr(error, "filename", None)
        ours = named is not None and (Path(named) in (path, *path.parents) or f"-{path.name}" in str(named))
        if number is not None and (ours or (number in _NO_ROOM and named is None)):
            raise WriteError(path, os.strerror(number), number in _NO_ROOM) from error
        if re.search("inline_container|iostream error", str(error)):  # torch.save does not tell why
            raise WriteError(path, "not all of it could be written", True) from error
        raise


def aside_path(path: Path, kind: str = "partial") -> Path:
    """Returns a name beside `path` under which this process writes what will become `path`."""
    return path.with_name(f".{kind}-{_HOST}-{os.getpid()}-{time.time_ns() // 1_000_000}-{path.name}")


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
        aside = aside_path(folder)
        os.replace(folder, aside)
        _delete(aside)


# ---- one process at a time -------------------------------------------------------------------------------------------


@contextmanager
def claim_folder(folder: str | Path, accelerator=None) -> Iterator[None]:
    """
    Makes a folder and keeps other processes from claiming it; the claim ends with the process, however that ends.

    What a killed owner was writing directly in it is removed, and at the end the folder itself if it is new and empty.

    Args:
        folder: Folder that stays while its content changes.
        accelerator: That of a run whose processes all call this: the main one claims for all.

    Raises:
        FolderInUseError: Another process has claimed it; raised in every process of the run.
        WriteError: The folder cannot be written; likewise.
    """
    folder, refusal = Path(folder), None
    with ExitStack() as claim:
        if accelerator is None or accelerator.is_main_process:
            if not folder.exists():
                claim.callback(_remove_if_empty, folder)
            try:
                claim.enter_context(_locked(folder / _LOCK, folder))
                remove_leftovers(folder, claimed=True)
            except OSError as error:
                refusal = error
        if accelerator is not None:
            from accelerate.utils import broadcast_object_list

            refusal = broadcast_object_list([refusal])[0]
        if refusal is not None:
            raise refusal
        yield


def _remove_if_empty(folder: Path):
    with suppress(OSError):
        folder.rmdir()


@contextmanager
def claim_name(path: str | Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """
    Keeps other processes from claiming what is written whole under a name, as `claim_folder` does for a folder.

    Args:
        path: The name; folders above it are made.
        waiting: Called before the end of another owner is awaited; without it, another owner is an error.

    Raises:
        FolderInUseError: Another process has claimed it.
        WriteError: The folder above it cannot be written.
    """
    path = Path(path)
    with _locked(path.with_name(f"{_LOCK}-{path.name}"), path, waiting):
        remove_leftovers(path.parent, claimed=True, name=path.name)
        yield


@contextmanager
def _locked(
    lock_file: Path, what: Path, waiting: Callable[[], None] | None = None, seconds: float = _LOCK_SECONDS
) -> Iterator[None]:
    """Holds a lock that no child inherits and that ends with the process; its file is removed by its last owner."""
    lock = FileLock(lock_file, mode=0o664)
    with telling(what):
        lock_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=seconds)
        except Timeout:
            if not lock_file.exists():
                lock_file.touch()  # which tells what hinders, where it is no other process
            if waiting is None:
                raise FolderInUseError(
                    f"another process is writing into {str(what)!r}; wait until it has ended, or choose another folder"
                ) from None
            waiting()
            lock.acquire()
    try:
        yield
    finally:
        with suppress(OSError):
            lock_file.unlink()
        lock.release()


# ---- what the dead have left -----------------------------------------------------------------------------------------


def remove_leftovers(folder: str | Path, *, claimed: bool = False, name: str | None = None):
    """
    Deletes what killed processes were writing in a folder; what one was replacing gets its name back.

    Args:
        folder: Where to look.
        claimed: Whether the caller's claim tells that no other process writes these, so that all are dead.
        name: What they were to become; any name when not given.
    """
    for leftover in Path(folder).glob(".p*-*"):
        match = inner = _ASIDE.fullmatch(leftover.name)
        while inner and (further := _ASIDE.fullmatch(inner["name"])):  # a part of something that was aside itself
            inner = further
        if not match or name not in (None, inner["name"]) or not (claimed or _is_dead(leftover, match)):
            continue
        final = leftover.with_name(match["name"])
        if match["kind"] == "previous" and not final.exists():
            os.replace(leftover, final)
        else:
            _delete(leftover)
    for lock_file in Path(folder).glob(f"{_LOCK}-*"):
        with suppress(OSError), _locked(lock_file, lock_file, seconds=0):
            pass


@cache
def _remove_leftovers_once(folder: Path):
    with suppress(OSError):  # of another user, or in a folder that cannot be listed
        remove_leftovers(folder)


def _is_dead(leftover: Path, owner: re.Match) -> bool:
    if owner["host"] != _HOST:
        return time.time() - leftover.lstat().st_mtime > _OTHER_HOST_SECONDS
    try:  # a process that began after the leftover has the number of one that is gone
        return psutil.Process(int(owner["pid"])).create_time() > int(owner["begun"]) / 1000 + _CLOCK_SECONDS
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


# ---- files -----------------------------------------------------------------------------------------------------------


def _settle(aside: Path):
    """Gives what was written the permissions of any new file, which safetensors takes away, and puts it on the disk."""
    probe = aside.with_name(f"{aside.name}.mode")
    probe.touch()
    mode = probe.stat().st_mode
    probe.unlink()
    for path in aside.rglob("*") if aside.is_dir() else [aside]:
        if path.is_file() and not path.is_symlink():
            path.chmod(mode)
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())


def _add_missing(old: Path, new: Path):
    """Gives a folder the files of another that it lacks: as further names of them where that can be, else as copies."""
    for path in old.rglob("*"):
        target = new / path.relative_to(old)
        if (path.is_dir() and not path.is_symlink()) or target.exists() or path.name.startswith(_LOCK):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(path, target)


def link_or_copy(path: Path, name: Path):
    """Gives a file another name without copying it, where the file system can."""
    try:
        os.link(path, name, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, name, follow_symlinks=False)


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
