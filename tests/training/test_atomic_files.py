# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Files and folders are whole or absent, and what killed processes leave is cleared."""

import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import pytest
from safetensors import SafetensorError

from ssp_sam.training import atomic_files
from ssp_sam.training.atomic_files import (
    FolderInUseError,
    WriteError,
    aside_path,
    claim_folder,
    claim_name,
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


def test_files_that_a_new_folder_lacks_stay_where_that_is_asked_for(tmp_path):
    folder = tmp_path / "model"
    (folder / "inside").mkdir(parents=True)
    for name in ("weights", "settings", "inside/notes"):
        (folder / name).write_text("old")
    with pytest.raises(OSError, match="full"), write_aside(folder, keep_others=True) as aside:
        aside.mkdir()
        (aside / "settings").write_text("half")
        raise OSError("full")
    assert (folder / "settings").read_text() == "old"
    with write_aside(folder, keep_others=True) as aside:
        aside.mkdir()
        (aside / "settings").write_text("new")
    found = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert found == {"weights": "old", "settings": "new", "inside/notes": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


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
    now, years_ago = time.time_ns() // 1_000_000, 1_000_000_000_000
    alive = [
        aside_path(tmp_path / "a").name,
        f".partial-{host}-{os.getppid()}-{now}-b",
        f".partial-elsewhere-1-{now}-c",
    ]
    gone = [f".partial-{host}-{dead}-{now}-d", f".partial-{host}-{os.getpid()}-{years_ago}-e", ".writing-f"]
    for name in (*alive, *gone):
        (tmp_path / name).touch()
    (tmp_path / f".partial-elsewhere-1-{now}-old").touch()
    os.utime(tmp_path / f".partial-elsewhere-1-{now}-old", (time.time() - 2 * 86400,) * 2)
    (tmp_path / ".partial-of-somebody").touch()
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted([*alive, ".partial-of-somebody"])


def test_a_folder_that_a_killed_process_was_replacing_gets_its_name_back(tmp_path):
    previous = tmp_path / f".previous-{atomic_files._HOST}-{dead_process()}-1-model"
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


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "whatever"), "No space left on device"),
        (SafetensorError("Error while serializing: I/O error: File too large (os error 27)"), "File too large"),
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0"), "not all of it"),
        (RuntimeError("basic_ios::clear: iostream error"), "not all of it"),
    ],
)
def test_a_full_disk_is_one_sentence_about_the_final_name(tmp_path, error, reason):
    with (
        pytest.raises(WriteError, match=f"^cannot write '.*/run/checkpoint' .{reason}.*; make room and repeat") as told,
        write_aside(tmp_path / "run" / "checkpoint") as outer,
    ):
        outer.mkdir()
        with write_aside(outer / "model"):
            raise error
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value) and names(tmp_path / "run") == []


def test_what_goes_wrong_elsewhere_keeps_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere"), write_aside(tmp_path / "a.txt"):
        (tmp_path / "elsewhere").read_bytes()
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match="File exists.; name another"), write_aside(tmp_path / "file" / "a.txt"):
        pass


def test_a_device_is_written_as_it_is():
    with write_aside(os.devnull) as path:
        assert str(path) == os.devnull


@pytest.mark.parametrize("claim", ["claim_folder", "claim_name"])
def test_what_is_claimed_is_free_again_after_a_kill_whoever_was_forked(tmp_path, claim):
    program = (
        "import os, runpy, sys, time\n"
        "with runpy.run_path(sys.argv[2])[sys.argv[3]](sys.argv[1]):\n"
        "    if os.fork():\n"
        "        print('claimed', flush=True)\n"
        "    time.sleep(60)"
    )
    path, own = tmp_path / "folder", getattr(atomic_files, claim)
    lock = path / ".writing" if claim == "claim_folder" else tmp_path / ".writing-folder"
    words = [sys.executable, "-c", program, path, MODULE, claim]
    other = subprocess.Popen(words, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert other.stdout.readline() == b"claimed\n"
        with pytest.raises(FolderInUseError, match="another process is writing into"), own(path):
            pass
        other.kill()
        other.wait()
        with own(path):
            assert lock.exists()
        assert not lock.exists()
    finally:
        os.killpg(other.pid, signal.SIGKILL)


def test_a_claim_clears_what_its_last_owner_was_writing_wherever_that_ran(tmp_path):
    leftovers = [".partial-elsewhere-1-1-model", ".partial-elsewhere-1-1-.partial-elsewhere-1-1-model"]
    for name in (*leftovers, ".partial-elsewhere-1-1-other"):
        (tmp_path / name).mkdir()
    with claim_name(tmp_path / "model"):
        assert names(tmp_path) == [".partial-elsewhere-1-1-other", ".writing-model"]
    with claim_folder(tmp_path):
        assert names(tmp_path) == [".writing"]
    assert names(tmp_path) == []


def test_who_waits_goes_on_when_the_claim_ends(tmp_path):
    order = []

    def wait():
        with claim_name(tmp_path / "model", waiting=lambda: order.append("waits")):
            order.append("claims")

    with claim_name(tmp_path / "model"):
        waiter = threading.Thread(target=wait)
        waiter.start()
        while not order:
            time.sleep(0.01)
        order.append("ends")
    waiter.join()
    assert order == ["waits", "ends", "claims"] and names(tmp_path) == []


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="there is no folder in which nobody can write")
@pytest.mark.parametrize("claim", [atomic_files.claim_folder, atomic_files.claim_name])
def test_a_name_that_cannot_be_written_is_not_taken_for_one_in_use(claim):
    with pytest.raises(WriteError, match="cannot write '/proc/folder' .*; name another"), claim("/proc/folder"):
        pass
