# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The site of the documentation, its pages, and the notebooks."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest

from ssp_sam import EMBEDDED_CHECKPOINT, __version__
from tests.helpers.readme_examples import ROOT, checkout_for_reading

PAGES = sorted(path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/*.md"))
NOTEBOOKS = [
    pytest.param(path, marks=pytest.mark.long if path.stem == "fine_tune" else (), id=path.stem)
    for path in sorted(ROOT.glob("docs/notebooks/*.ipynb"))
]
needs_checkpoint = pytest.mark.skipif(
    not EMBEDDED_CHECKPOINT.is_dir(), reason="this checkout has no embedded checkpoint"
)


def slug(title: str) -> str:
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.replace("`", "").lower()).strip())


@pytest.mark.parametrize("page", PAGES)
def test_links_to_headings_exist(page):
    path = ROOT / "docs" / page
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", path.read_text("utf-8")):
        text = (path.parent / target).read_text("utf-8") if target else path.read_text("utf-8")
        assert heading in {slug(title) for title in re.findall(r"^#+ (.+)$", text, re.M)}, f"{target}#{heading}"


def test_every_page_is_in_the_navigation():
    named = re.findall(r"([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M)
    assert sorted(named) == PAGES


def test_one_version_is_named_everywhere():
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    newest = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)[1]
    assert newest in (__version__, "Unreleased")


def test_the_cookbook_has_ten_recipes():
    titles = re.findall(r"^## (\d+)\. ", (ROOT / "docs/cookbook.md").read_text("utf-8"), re.M)
    assert titles == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize("path", [ROOT / "docs" / page for page in PAGES], ids=PAGES)
def test_snippets_of_python_are_python(path):
    for code in re.findall(r"^```python\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S):
        ast.parse(code)


@needs_checkpoint
@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebooks_run_from_a_checkout(path, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.chdir(checkout_for_reading(tmp_path / "reader"))
    namespace: dict = {"__name__": "__main__"}
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], "notebooks are kept without outputs"
            exec(compile("".join(cell["source"]), f"{path.name}, {cell['id']}", "exec"), namespace)


def test_the_site_is_built_offline_without_a_warning(tmp_path):
    for name in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(name, reason=f"{name} is not installed: pip install ssp-sam[docs]")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr[-3000:]
    reference = (tmp_path / "site/reference.html").read_text("utf-8")
    for name in ("SegmentationResult", "to_coco", "SspSamConfig", "SspSamProcessor", "draw_overlay"):
        assert f">{name}<" in reference or f".{name}" in reference, name
    assert "fonts.googleapis" not in reference and (tmp_path / "site/examples/overlay.png").is_file()
