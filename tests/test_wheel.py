# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The built wheel: that it holds every file of the packages, and that every subcommand works from it alone."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import setuptools

from tests.helpers.benchmark import tiny_benchmark, tiny_model_folder
from tests.test_layout import LAYERS, ROOT

BUILT_FROM = ("LICENSE", "README.md", "pyproject.toml", "setup.py", "ssp_sam", *LAYERS)
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
needs_setuptools = pytest.mark.skipif(
    int(setuptools.__version__.split(".")[0]) < 77, reason="pyproject.toml asks for setuptools 77 to build a wheel"
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout, built from a copy, since building leaves files behind."""
    copy, folder = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.py[cod]")
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy)
    done = subprocess.run([sys.executable, "-c", BUILD, str(folder)], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    [path] = folder.glob("*.whl")
    return path


def files_of(folder: Path) -> set[str]:
    """The files below a folder by their paths in it, without what Python and links put there."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".pyc", ".pyo", ".pyd")
    }


@needs_setuptools
def test_the_wheel_holds_every_file_of_the_packages_and_no_other(wheel):
    own = {name for name in files_of(ROOT / "ssp_sam") if name.split("/")[0] not in LAYERS}
    expected = own | {f"{layer}/{name}" for layer in LAYERS for name in files_of(ROOT / layer)}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {f"ssp_sam/{name}" for name in expected}


@needs_setuptools
@pytest.mark.long
def test_every_example_runs_from_the_wheel_in_an_unrelated_folder(wheel, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    # The checkout comes second: its tests are found there, and everything of the package in the wheel.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)]), "OMP_NUM_THREADS": "1"}
    python = [sys.executable, "-P"]

    def run(*words: str) -> str:
        command = [*python, *words]
        done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    for module in ("ssp_sam", "ssp_sam.training", "ssp_sam.training.preparation.readers"):
        assert run("-c", f"import {module} as found; print(found.__file__)").startswith(str(site))
    tests = str(ROOT / "tests" / "ssp_sam" / "cli" / "test_main.py")
    options = ["-o", f"pythonpath={site}", "-p", "no:cacheprovider", "-n", "0", "-k", "example"]
    assert " passed" in run("-m", "pytest", "-q", *options, tests)


@needs_setuptools
@pytest.mark.long
def test_several_processes_train_from_the_wheel_by_the_line_that_the_command_prints(wheel, tmp_path):
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    zipfile.ZipFile(wheel).extractall(site)
    settings = {"config": "own_data", "dataset": "data", "init_from": "model", "output_dir": "run", "num_epochs": "0.5"}
    tiny_benchmark(elsewhere / "data")
    tiny_model_folder(elsewhere / "model", single_tower=True)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
    command += [
        str(site / "ssp_sam/training/accelerate_configs/two_cpu_processes.yaml"),
        "-m",
        "ssp_sam.training.train",
    ]
    command += [word for name, value in settings.items() for word in (f"--{name}", value)]
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 processes" in done.stdout
    assert (elsewhere / "run" / "final" / "model.safetensors").is_file()
