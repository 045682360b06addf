# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The gallery of drawings."""

from pathlib import Path

from PIL import Image

from scripts import make_gallery

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_the_one_that_the_script_writes_and_its_drawings_are_there(tmp_path):
    make_gallery.main(["--root", str(tmp_path), "--only", "masks", "cutout", "scripts", "tall"])
    assert (tmp_path / "docs/gallery.md").read_text("utf-8") == (ROOT / "docs/gallery.md").read_text("utf-8")
    for name in make_gallery.DRAWINGS:
        assert (ROOT / make_gallery.path_of(name)).is_file(), name
    for path in (tmp_path / "docs/gallery").iterdir():
        with Image.open(path) as made, Image.open(ROOT / "docs/gallery" / path.name) as kept:
            assert made.size == kept.size


def test_sheets_are_drawn():
    assert min(make_gallery.contact_sheet().size) > 300 and min(make_gallery.data_sheet().size) > 300
