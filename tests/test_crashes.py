# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Commands that are killed while they write, or write on a full disk, or in two processes at once.

Whatever has a name is whole, the command repeated gives what an undisturbed one gives, and nothing is left behind.
"""

import os
import random
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from scripts.make_custom_dataset import main as make_custom_dataset
from tests.helpers.faults import changes_of, end_of, start_in_trouble, wait_until_held
from tests.helpers.kill_table import count_kills, read_kills
from tests.helpers.processes import Processes, start_processes
from tests.helpers.writers import WRITERS, Writer, content, run_command

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
REAL_TRAINING, REAL_KILLS = "train, by the recipe for custom datasets, at random moments", 20


@dataclass
class Stage:
    """A writer with its inputs, and what an undisturbed run of it has left."""

    name: str
    writer: Writer
    folder: Path
    old: dict
    whole: dict = field(default_factory=dict)
    changes: int = 0

    def start(self, name: str, **trouble) -> Processes:
        """Starts the command, to write into the folder `name`, which holds what was there before."""
        output = self.folder / name
        if not output.exists():
            shutil.copytree(self.folder / "before", output)
        words = self.writer.words(self.folder / "inputs", output)
        return start_in_trouble(run_command, words, self.folder / f"{name} said", watched=output, **trouble)

    def check_whole(self, name: str):
        """Whatever has a name is complete, as before or as an undisturbed run leaves it."""
        output = self.folder / name
        for pattern in self.writer.units:
            for unit in output.glob(pattern):
                if unit.name.startswith("."):
                    continue
                inside = str(unit.relative_to(output))
                found = {path: value for path, value in content(output).items() if _below(path, inside)}
                wanted = [
                    {path: value for path, value in state.items() if _below(path, inside)}
                    for state in (self.old, self.whole)
                ]
                assert found in wanted or not found, f"{inside} is neither the old nor the new one"

    def repeat(self, name: str):
        """The command repeated leaves what an undisturbed one leaves, and nothing else."""
        processes = self.start(name)
        assert end_of(processes) == 0, processes.said(stream="err")
        self.check_done(name)

    def check_done(self, name: str):
        """What is there is what an undisturbed run leaves."""
        found = content(self.folder / name)
        assert found.keys() == self.whole.keys()
        assert [path for path in found if found[path] != self.whole[path]] == []


def _below(path: str, unit: str) -> bool:
    return (path == unit or path.startswith(f"{unit}/")) and not any(part.startswith(".") for part in Path(path).parts)


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if WRITERS[name].quick else pytest.mark.long) for name in WRITERS],
)
def stage(request, tmp_path_factory) -> Stage:
    folder, writer = tmp_path_factory.mktemp(request.param), WRITERS[request.param]
    (folder / "before").mkdir()
    writer.inputs(folder / "inputs")
    if writer.before is not None:
        assert run_command([str(word) for word in writer.before(folder / "inputs", folder / "before")]) == 0
    stage = Stage(request.param, writer, folder, content(folder / "before"))
    stage.changes = changes_of(stage.start("whole"))
    stage.whole = content(folder / "whole")
    assert stage.changes > 3 and not [path for path in stage.whole if path.startswith(".")]
    return stage


def kill_and_repeat(stage: Stage, **trouble) -> bool:
    """Kills the command, looks at what is there, and repeats it; returns whether it died before its end."""
    killed = end_of(stage.start("killed", **trouble)) < 0
    stage.check_whole("killed")
    found = content(stage.folder / "killed")
    left = {Path(path).parts[0] for path in found.keys() - stage.whole.keys()}
    if not stage.writer.made_once or stage.whole.keys() - found.keys() or any("partial" in name for name in left):
        stage.repeat("killed")
    shutil.rmtree(stage.folder / "killed")
    return killed


def check_sentence(said: str, *parts: str):
    """One line tells the fault by one of these words; progress bars may stand before it."""
    lines = [line for line in said.splitlines() if line.startswith("ssp-sam: ") or "Error" in line]
    assert len(lines) == 1 and any(part in lines[0] for part in parts), said


def test_a_second_one_is_refused_and_after_a_kill_and_a_full_disk_the_command_goes_on(stage):
    first = stage.start("troubled", stop_at=stage.changes // 2)
    wait_until_held(first)
    try:
        second = stage.start("troubled")
        assert end_of(second) == 2
        check_sentence(second.said(stream="err"), "another process is writing into")
    finally:
        first.kill()
    stage.check_whole("troubled")

    on_full_disk = stage.start("troubled", bytes_of_disk=2_000)
    assert end_of(on_full_disk) == 2
    check_sentence(on_full_disk.said(stream="err"), "cannot write '")
    stage.check_whole("troubled")
    assert list((stage.folder / "troubled").rglob(".*")) == [], "nothing half is left"
    stage.repeat("troubled")
    shutil.rmtree(stage.folder / "troubled")


def test_the_document_counts_two_hundred_kills_of_every_command_that_writes():
    kills = {name: number for name, (number, _) in read_kills().items()}
    total = kills.pop("all")
    assert kills.keys() == {*WRITERS, "pull", REAL_TRAINING} and total == sum(kills.values()) >= 260
    assert kills[REAL_TRAINING] >= 20


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_killed_at_any_change_it_is_whole_or_absent_and_goes_on(stage):
    kills = stage.writer.kills
    moments = [1 + number * (stage.changes - 1) // (kills - 1) for number in range(kills)]
    died = sum(kill_and_repeat(stage, die_at=number) for number in moments)
    count_kills(stage.name, kills, died)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_real_training_killed_at_random_moments_ends_as_an_undisturbed_one(tmp_path):
    """The embedded checkpoint learns a custom dataset; kills come by the clock, while it starts and ends as well."""
    seed = random.SystemRandom().randrange(10**9)
    print(f"seed {seed}")
    generator = random.Random(seed)
    assert make_custom_dataset(["textures", str(tmp_path / "textures"), "--images", "20"]) == 0
    settings = "--num_epochs 0.01 --min_steps 240 --images_per_device 2 --num_train_scenes 8 --num_eval_scenes 4"
    settings += " --checkpoint_steps 5 --keep_checkpoints 2 --log_steps 1 --eval_epochs 4 --resume auto"
    words = ["train", "--config", "own_data", "--train_dir", tmp_path / "textures", *settings.split()]

    def start(name: str) -> Processes:
        return start_processes(
            run_command, [*words, "--output_dir", tmp_path / name / "run"], tmp_path / f"{name} said"
        )

    assert end_of(start("whole")) == 0
    died = 0
    for _ in range(REAL_KILLS):
        processes = start("killed")
        processes.members[0].join(generator.uniform(0.2, 8))
        died += processes.members[0].is_alive()
        processes.kill()
    assert end_of(start("killed")) == 0
    whole, found = content(tmp_path / "whole"), content(tmp_path / "killed")
    assert found.keys() == whole.keys()
    assert [path for path in found if found[path] != whole[path]] == []
    count_kills(REAL_TRAINING, REAL_KILLS, died)


@pytest.mark.long
@pytest.mark.parametrize("size", [300, 3_000, 30_000, 300_000])
def test_killed_within_a_file_it_is_whole_or_absent_and_goes_on(stage, size):
    kill_and_repeat(stage, die_at_bytes=size)


@pytest.mark.long
def test_of_two_at_once_the_one_that_is_first_ends_well(stage):
    first = stage.start("two", stop_at=stage.changes // 2)
    pid = wait_until_held(first)
    assert end_of(stage.start("two")) == 2
    os.kill(pid, signal.SIGCONT)
    assert end_of(first) == 0
    stage.check_done("two")
    shutil.rmtree(stage.folder / "two")


@pytest.mark.long
@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.8])
def test_on_a_file_system_that_is_too_small_it_is_one_sentence_and_goes_on_with_more_room(stage, fraction):
    output = stage.folder / "small"
    output.mkdir()
    needed, there = (
        sum(path.stat().st_size for path in (stage.folder / name).rglob("*")) for name in ("whole", "before")
    )
    mount = ["mount", "-t", "tmpfs", "-o", f"size={there + int(fraction * needed)}", "tmpfs", output]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a file system")
    try:
        shutil.copytree(stage.folder / "before", output, dirs_exist_ok=True)
        processes = stage.start("small")
        code = end_of(processes)
        assert code in (0, 2) and (code == 2 or fraction > 0.5)  # what is written may be smaller than what lies there
        if code == 2:  # a cache counts beforehand
            check_sentence(processes.said(stream="err"), "cannot write '", " need ")
        stage.check_whole("small")
        subprocess.run(["mount", "-o", "remount,size=1g", output], check=True)
        stage.repeat("small")
    finally:
        subprocess.run(["umount", "--lazy", output], check=True)
        output.rmdir()
