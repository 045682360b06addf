"""The README's examples, executed as they are written."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssp_sam import EMBEDDED_CHECKPOINT

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")
# A block after a line `<!-- not run: reason -->` is shown only.
BLOCK = re.compile(
    r"(?P<note><!-- not run: [^>]+ -->\n)?^```(?P<language>python|bash)\n(?P<code>.*?)^```$", re.M | re.S
)
BLOCKS = [match for match in BLOCK.finditer(TEXT) if not match["note"]]

needs_checkpoint = pytest.mark.skipif(
    not EMBEDDED_CHECKPOINT.is_dir(), reason="this checkout has no embedded checkpoint"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An empty folder with the example picture in it, from where a reader would try the README."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


def blocks(language: str):
    return [
        pytest.param(match["code"], id=f"line {TEXT[: match.start()].count(chr(10)) + 1}")
        for match in BLOCKS
        if match["language"] == language
    ]


@needs_checkpoint
@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


@needs_checkpoint
@pytest.mark.parametrize("code", blocks("bash"))
def test_shell_examples_run(code, folder):
    # The command of this very checkout stands first on the path, installed or not.
    command = folder / "bin" / "ssp-sam"
    command.parent.mkdir(exist_ok=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ssp_sam.cli "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(command.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(["bash", "-euc", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_there_are_examples_of_each_kind():
    assert {match["language"] for match in BLOCKS} == {"python", "bash"}


def test_links_into_the_repository_exist():
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)\)", TEXT)
    assert targets and not [target for target in targets if not (ROOT / target).exists()]


def test_the_dependency_line_is_drawn():
    assert "configuration -> processing -> model -> pipeline -> training -> hub" in TEXT
