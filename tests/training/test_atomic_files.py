# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Files and folders are whole or absent, and what killed processes leave is cleared."""

import os
import subprocess
import sys
import time

import pytest

from ssp_sam.training import atomic_files
from ssp_sam.training.atomic_files import (
    FolderInUseError,
    claim_folder,
    remove_leftovers,
    remove_whole,
    write_aside,
)

MODULE = atomic_files.__file__  # run by its file, which takes no import of the library


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_replaces_the_one_before_it(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with write_aside(tmp_path / "a.txt") as aside:
        aside.write_text("new")
        assert aside.suffix == ".txt" and (tmp_path / "a.txt").read_text() == "old"
    assert (tmp_path / "a.txt").read_text() == "new" and names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_replaces_the_one_before_it(tmp_path, monkeypatch, can_exchange):
    if not can_exchange:
        monkeypatch.setattr(atomic_files, "_exchange", lambda first, second: False)
    for content in ("old", "new"):
        with write_aside(tmp_path / "above" / "folder") as aside:
            aside.mkdir()
            (aside / content).touch(mode=0o600)
    assert names(tmp_path / "above" / "folder") == ["new"] and names(tmp_path / "above") == ["folder"]
    (tmp_path / "other").touch()
    assert (tmp_path / "above" / "folder" / "new").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_after_an_error_the_former_content_stays_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(OSError, match="full"), write_aside(tmp_path / "a.txt") as aside:
        aside.write_text("half")
        raise OSError("full")
    assert (tmp_path / "a.txt").read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_through_a_link_its_target_is_written(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with write_aside(tmp_path / "link") as aside:
        aside.mkdir()
        (aside / "new").touch()
    assert (tmp_path / "link").is_symlink() and names(tmp_path / "real") == ["new"]


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_what_the_dead_left_is_removed(tmp_path):
    host, dead = atomic_files._HOST, dead_process()
    for name in (f".partial-{host}-{dead}-a", f".partial-{host}-{os.getppid()}-b", ".partial-elsewhere-1-c"):
        (tmp_path / name).mkdir()
    (tmp_path / ".partial-elsewhere-1-old").touch()
    os.utime(tmp_path / ".partial-elsewhere-1-old", (time.time() - 2 * 86400,) * 2)
    (tmp_path / ".partial-of-somebody").touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(
        [f".partial-{host}-{os.getppid()}-b", ".partial-elsewhere-1-c", ".partial-of-somebody"]
    )


def test_a_folder_that_a_killed_process_was_replacing_gets_its_name_back(tmp_path):
    previous = tmp_path / f".previous-{atomic_files._HOST}-{dead_process()}-model"
    previous.mkdir()
    (previous / "weights").touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["model"] and names(tmp_path / "model") == ["weights"]


def test_a_killed_writer_leaves_what_the_next_one_removes(tmp_path):
    program = (
        "import os, runpy, sys\n"
        "with runpy.run_path(sys.argv[2])['write_aside'](sys.argv[1]) as aside:\n"
        "    aside.write_text('half')\n"
        "    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "a.txt", MODULE], check=False)
    assert len(names(tmp_path)) == 1 and not (tmp_path / "a.txt").exists()
    with write_aside(tmp_path / "a.txt") as aside:
        aside.write_text("whole")
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_goes_whole(tmp_path):
    (tmp_path / "checkpoint-1").mkdir()
    (tmp_path / "checkpoint-1" / "weights").touch()
    remove_whole(tmp_path / "checkpoint-1")
    remove_whole(tmp_path / "checkpoint-1")
    assert names(tmp_path) == []


def test_a_folder_is_claimed_once_and_free_again_after_a_kill(tmp_path):
    program = (
        "import runpy, sys, time\n"
        "with runpy.run_path(sys.argv[2])['claim_folder'](sys.argv[1]):\n"
        "    print('claimed', flush=True)\n"
        "    time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", program, tmp_path, MODULE], stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"claimed\n"
    with pytest.raises(FolderInUseError, match="another process is writing into"), claim_folder(tmp_path):
        pass
    other.kill()
    other.wait()
    with claim_folder(tmp_path):
        assert names(tmp_path) == [".writing"]
    assert names(tmp_path) == []
