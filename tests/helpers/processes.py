# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Functions run in processes of their own, alone or joined as `accelerate launch` joins them.

Importing the library takes seconds of a processor. Here one server imports it once, and each process is forked from
that server, which has computed nothing and has no threads.
"""

import gc
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from torch.distributed import TCPStore

PRELOADED = ["ssp_sam.training.train"]
PATIENCE = 560  # seconds; a busy machine takes long to import torch
# As `accelerate launch` with one of the CPU configurations: one thread and no GPU.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}


@dataclass
class Processes:
    """Processes that run; the store by which they find each other lives in this process."""

    members: list
    folder: Path
    store: TCPStore | None = field(default=None, repr=False)

    def said(self, rank: int = 0, stream: str = "out") -> str:
        """Returns what a process has written to standard output (`out`) or standard error (`err`)."""
        return (self.folder / f"{rank}.{stream}").read_text("utf-8")

    def wait(self):
        """Waits until all have ended, and fails unless each returned 0 or no number."""
        try:
            for rank, process in enumerate(self.members):
                process.join(PATIENCE)
                code, said = process.exitcode, self.said(rank, "err")[-3000:]
                assert code == 0, f"process {rank} of {len(self.members)} ended with {code}:\n{said}"
        finally:
            self.kill()

    def kill(self):
        """Ends at once, as a power cut would, those that still run, with the processes they have started."""
        for process in self.members:
            if process.is_alive():
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:  # it has no group of its own yet, and has started nothing
                    process.kill()
            process.join()


def start_processes(function: Callable, words: list, folder: Path, number: int = 1, **environment: str) -> Processes:
    """
    Runs a function on a list of words in processes of their own.

    Args:
        function: What is run; found by its name in the module that holds it. An int it returns is the exit code.
        words: Its only argument, turned into strings.
        folder: Where the processes' outputs are kept.
        number: How many; more than one are joined by gloo.
        environment: Variables beside those of `ENVIRONMENT`.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)  # before the first process; nothing afterwards
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**ENVIRONMENT, **environment}
    store = None
    if number > 1:  # a store that is there before them: no port is given up and taken again
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(number)}
        environment |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "LOCAL_WORLD_SIZE": str(number)}
    members = []
    for rank in range(number):
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank)} if number > 1 else {}
        arguments = (function, [str(word) for word in words], folder, rank, environment | ranks)
        members.append(context.Process(target=_member, args=arguments))
        members[-1].start()
    return Processes(members, folder, store)


def run_in_processes(function: Callable, words: list, folder: Path, number: int = 1, **environment: str) -> Processes:
    """Does as `start_processes`, and waits for their end."""
    processes = start_processes(function, words, folder, number, **environment)
    processes.wait()
    return processes


def run_script(words: list[str]):
    """Runs a script as `python` does: the words are a working folder, the path of the script, and its arguments."""
    folder, *sys.argv = words
    os.chdir(folder)
    runpy.run_path(sys.argv[0], run_name="__main__")


def _member(function: Callable, words: list[str], folder: Path, rank: int, environment: dict[str, str]):
    """What each process does: it writes into files, and has a group and an environment of its own."""
    gc.freeze()  # what the server has imported is no garbage
    os.setpgid(0, 0)
    multiprocessing.set_start_method(
        "fork", force=True
    )  # for what it starts itself; else it would do as it was started
    for descriptor, stream in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / f"{rank}.{stream}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    os.environ.update(environment)
    import torch

    torch.set_num_threads(int(environment["OMP_NUM_THREADS"]))
    code = function(words)
    sys.exit(code if isinstance(code, int) else 0)
