# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Letters of any script, measured and written."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw, features

from ssp_sam.processing.visualization import lettering
from ssp_sam.processing.visualization.lettering import FONT_FILE, NO_CHARACTER, font_of

FONT = font_of(30)
SCRIPTS = {
    "German": "größtes Äpfelchen",
    "Polish": "żółta łódź",
    "Russian": "красная чашка",
    "Greek": "κόκκινο",
    "Arabic": "السيارة الحمراء",
    "Hebrew": "המכונית",
    "Armenian": "կարմիր",
    "Georgian": "წითელი",
    "signs": "½ € → ★ “red” …",
}


@pytest.fixture(autouse=True)
def fonts_anew():
    """Nothing is remembered of the fonts that another test's system has."""
    caches = (lettering._font_with, lettering._system_fonts)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def write(text: str, anchor: str = "la", xy=(10, 10), size=(700, 60)) -> np.ndarray:
    """What is written in white on black, (height, width) in 0..255."""
    image = Image.new("RGB", size)
    FONT.write(ImageDraw.Draw(image), xy, text, (255, 255, 255), anchor)
    return np.asarray(image).max(-1)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_package_brings_the_letters_of_many_scripts(script, monkeypatch):
    monkeypatch.setattr(lettering, "_folders", list)
    absent = write(NO_CHARACTER)
    for character in filter(str.strip, SCRIPTS[script]):
        drawn = write(character)
        assert drawn.any() and not np.array_equal(drawn, absent), character


@pytest.mark.parametrize("text", ["the red car", "größtes Äpfelchen", "السيارة الحمراء 3", "a " * 12])
def test_what_is_written_is_as_wide_as_measured(text):
    columns = np.flatnonzero(write(text).any(0))
    assert columns[0] >= 9 and columns[-1] <= 10 + FONT.getlength(text) + 2
    assert columns[-1] - columns[0] >= FONT.getlength(text.strip()) - 6


def test_anchors_say_where_a_line_lies():
    middle, right = write("red car", "mm", (350, 30)), write("red car", "ra", (690, 10))
    columns, rows = np.flatnonzero(middle.any(0)), np.flatnonzero(middle.any(1))
    assert abs(columns.mean() - 350) < 3 and abs(rows.mean() - 30) < 6
    assert 680 < np.flatnonzero(right.any(0))[-1] <= 690


@pytest.mark.skipif(not features.check("raqm"), reason="this Pillow has no raqm, which shapes letters")
def test_arabic_letters_join_and_run_from_right_to_left():
    apart = sum(FONT.getlength(letter) for letter in "السيارة")
    assert FONT.getlength("السيارة") < 0.95 * apart
    drawn = write("ا       م")  # the first letter is a stroke, the second a loop
    columns = np.flatnonzero(drawn.any(0))
    halves = drawn[:, : int(columns.mean())], drawn[:, int(columns.mean()) :]
    assert np.count_nonzero(halves[0].any(0)) > np.count_nonzero(halves[1].any(0))


def test_the_system_has_what_the_package_lacks(monkeypatch, tmp_path):
    shutil.copy(FONT_FILE, tmp_path / "Other-Regular.ttf")
    (tmp_path / "broken.ttf").write_text("no font")
    has = lettering._has
    monkeypatch.setattr(lettering, "_folders", lambda: [tmp_path, tmp_path / "missing"])
    monkeypatch.setattr(
        lettering, "_has", lambda path, text: has(path, "x") and path != str(FONT_FILE) and text == "红"
    )
    assert lettering._runs("a 红 b") == [
        (str(FONT_FILE), "a "),
        (str(tmp_path / "Other-Regular.ttf"), "红 "),
        (str(FONT_FILE), "b"),
    ]


def test_a_file_that_is_no_font_has_no_letters(tmp_path):
    (tmp_path / "broken.ttf").write_text("no font")
    assert not lettering._has(str(tmp_path / "broken.ttf"), "x")


def test_what_no_font_has_is_still_written(monkeypatch):
    monkeypatch.setattr(lettering, "_folders", list)
    assert write("红色").any() and FONT.getlength("红色") > 0


def test_parts_of_a_character_stay_with_it(monkeypatch):
    monkeypatch.setattr(lettering, "_folders", list)
    assert [part for _, part in lettering._runs("e\u0301 x\u200dy")] == ["e\u0301 x\u200dy"]


def test_fonts_that_look_like_the_package_s_come_first(monkeypatch, tmp_path):
    for name in ("NotoSerif-Bold.ttf", "NotoSansCJK-Regular.ttc", "Zapf.otf", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.setattr(lettering, "_folders", lambda: [tmp_path])
    names = [path.rsplit("/", 1)[-1] for path in lettering._system_fonts()]
    assert names == ["NotoSansCJK-Regular.ttc", "Zapf.otf", "NotoSerif-Bold.ttf"]
