# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Processes that come to grief while they write: killed, held, or on a disk that is full.

The moment is a number of changes to a folder (a file opened for writing, a name made, changed or removed), or of bytes
in one file, so that a test meets the same moments on every machine.
"""

import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.helpers.processes import PATIENCE, Processes, start_processes

_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.chmod"}


def start_in_trouble(function: Callable, words: list, folder: Path, **trouble) -> Processes:
    """
    Starts a function on a list of words in a process of its own, as `start_processes` does.

    Args:
        function, words, folder: Those of `start_processes`.
        trouble: `watched`, a folder; and `die_at` or `stop_at`, the number of the change before which the process kills
            or stops itself. Or the most bytes of a file: `die_at_bytes`, where the process dies, or `bytes_of_disk`,
            where writing fails.
    """
    told = {name: str(value) if isinstance(value, Path) else value for name, value in trouble.items()}
    words = [json.dumps(told), f"{function.__module__}:{function.__qualname__}", *words]
    return start_processes(_run_in_trouble, words, folder)


def end_of(processes: Processes) -> int:
    """Waits for the end and returns the exit code, that of a killed process below zero."""
    processes.members[0].join(PATIENCE)
    code = processes.members[0].exitcode
    processes.kill()
    assert code is not None, "it hangs"
    return code


def changes_of(processes: Processes) -> int:
    """How often a process that has ended well changed the folder that it watched."""
    assert end_of(processes) == 0, processes.said(stream="err")
    return int(processes.said().rsplit("changes ", 1)[1])


def wait_until_held(processes: Processes) -> int:
    """Waits until a process has stopped itself, and returns its id, to be sent SIGCONT."""
    pid, deadline = processes.members[0].pid, time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert processes.members[0].is_alive() and time.monotonic() < deadline, "it ended before it was held"
        time.sleep(0.01)
    return pid


def _run_in_trouble(words: list[str]) -> int:
    trouble, target, *rest = words
    module, _, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    seen = _meet(**json.loads(trouble))
    code = function(rest)
    sys.stdout.flush()
    print(f"\nchanges {seen[0]}", flush=True)
    return code if isinstance(code, int) else 0


def _meet(watched: str = "", die_at: int = 0, stop_at: int = 0, die_at_bytes: int = 0, bytes_of_disk: int = 0) -> list:
    """Prepares the trouble of this process; the list it returns holds the number of changes so far."""
    if die_at_bytes or bytes_of_disk:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if die_at_bytes else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        most = die_at_bytes or bytes_of_disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    seen, own = [0], os.getpid()

    def hook(event: str, arguments: tuple):
        if not watched or os.getpid() != own or not _is_change(event, arguments, watched):
            return
        seen[0] += 1
        if seen[0] in (die_at, stop_at):
            os.kill(own, signal.SIGKILL if die_at else signal.SIGSTOP)

    sys.addaudithook(hook)
    return seen


def _is_change(event: str, arguments: tuple, watched: str) -> bool:
    if event == "open":
        if not isinstance(arguments[2], int) or not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return False
    elif event not in _CHANGES:
        return False
    elif event in ("os.remove", "os.rmdir") and arguments[1] != -1:  # below a folder that is being removed
        return True
    name = arguments[0]
    return isinstance(name, str | bytes | os.PathLike) and os.path.abspath(os.fsdecode(name)).startswith(watched)
