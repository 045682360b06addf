# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The examples of the README, of the guide for users and of the cookbook, executed as they are written."""

import re

import pytest

from ssp_sam import EMBEDDED_CHECKPOINT
from tests.helpers.readme_examples import ROOT, TEXT, checkout_for_reading, run_here, run_in_shell

# A block after a line `<!-- not run: reason -->` is shown only.
BLOCK = re.compile(
    r"(?P<note><!-- not run: [^>]+ -->\n)?^```(?P<language>python|bash)\n(?P<code>.*?)^```$", re.M | re.S
)
DOCUMENTS = {
    name: (ROOT / name).read_text("utf-8")
    for name in ("README.md", "docs/index.md", "docs/usage.md", "docs/cookbook.md")
}
BLOCKS = [(name, match) for name, text in DOCUMENTS.items() for match in BLOCK.finditer(text) if not match["note"]]

needs_checkpoint = pytest.mark.skipif(
    not EMBEDDED_CHECKPOINT.is_dir(), reason="this checkout has no embedded checkpoint"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the README's commands name, from where a reader would try it."""
    return checkout_for_reading(tmp_path_factory.mktemp("readme"))


def blocks(language: str):
    return [
        pytest.param(match["code"], id=f"{name}, line {DOCUMENTS[name][: match.start()].count(chr(10)) + 1}")
        for name, match in BLOCKS
        if match["language"] == language
    ]


@needs_checkpoint
@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})


@needs_checkpoint
@pytest.mark.parametrize("code", blocks("bash"))
def test_commands_run(code, folder, monkeypatch, capsys):
    run_here(code, folder, monkeypatch)


@pytest.mark.long
@needs_checkpoint
@pytest.mark.parametrize("code", blocks("bash"))
def test_shell_examples_run(code, folder):
    run_in_shell(code, folder)


def test_there_are_examples_of_each_kind():
    assert {match["language"] for _, match in BLOCKS} == {"python", "bash"}


@pytest.mark.parametrize("document", ["README.md", *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))])
def test_links_into_the_repository_exist(document):
    path = ROOT / document
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", path.read_text("utf-8"))
    assert not [target for target in targets if not (path.parent / target).exists()]


def test_the_readme_is_read_in_one_go():
    assert len(TEXT.splitlines()) <= 200


def test_the_dependency_line_is_drawn():
    assert "configuration <- processing <- modeling_ssp_sam <- training <- ssp_sam/{hub, deployment, demo}" in TEXT
