# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Pictures of a prepared benchmark's samples."""

import numpy as np
import pytest
from PIL import Image

from ssp_sam.cli.main import main
from ssp_sam.processing.visualization.data_sheet import CELL_WIDTH, NO_TARGET_COLOUR, draw_data_sheet
from ssp_sam.processing.visualization.painting import PANEL_BACKGROUND
from ssp_sam.training.preparation.prepare import prepare
from ssp_sam.training.preparation.settings import PreparationSettings
from tests.helpers.raw_benchmarks import rectangle, write_coco_images, write_grefcoco

GREY = (120, 120, 120)


def make_row(**changes) -> dict:
    mask = rectangle(60, 80, 10, 10, 50, 40)
    return {
        "image": Image.new("RGB", (80, 60), GREY),
        "masks": [mask],
        "box_xyxy": [10, 10, 50, 40],
        "expressions": ["the square on the left"],
        "category": "square",
        "no_target": False,
        "source": "fixture",
        "split": "val",
        "ref_id": "12",
        **changes,
    }


def nothing_meant() -> dict:
    return make_row(masks=[], box_xyxy=None, no_target=True)


def area_of(sheet, colour) -> int:
    return int((np.asarray(sheet) == colour).all(-1).sum())


def test_what_is_meant_is_tinted_and_the_rest_left_alone():
    plain = area_of(draw_data_sheet([nothing_meant()]), GREY)
    tinted = area_of(draw_data_sheet([make_row()]), GREY)
    assert plain > 0.9 * 360 * 270  # 80 x 60 pixels are enlarged to 360 x 270
    outside = 1 - 40 * 30 / (80 * 60)
    assert abs(tinted / (360 * 270) - outside) < 0.03


def test_nothing_meant_is_marked():
    marked = draw_data_sheet([nothing_meant()])
    assert area_of(marked, NO_TARGET_COLOUR) > 2000 and area_of(draw_data_sheet([make_row()]), NO_TARGET_COLOUR) == 0


def test_samples_stand_in_rows_and_columns():
    assert draw_data_sheet([make_row()] * 5, columns=3).width == 3 * CELL_WIDTH
    assert draw_data_sheet([make_row()] * 2, columns=4).width == 2 * CELL_WIDTH


def test_long_and_many_sentences_stay_in_their_cell():
    texts = ["a very long sentence " * 9, "x" * 200, *["another"] * 20]
    wide = draw_data_sheet([make_row(expressions=texts)])
    assert wide.width == CELL_WIDTH and 500 < wide.height < 900
    assert area_of(wide.crop((CELL_WIDTH - 8, 300, CELL_WIDTH, wide.height)), PANEL_BACKGROUND) == 8 * (
        wide.height - 300
    )


@pytest.mark.parametrize("size", [(1, 1), (500, 3), (3, 500)])
def test_pictures_of_any_shape_are_drawn(size):
    row = make_row(image=Image.new("L", size), masks=[np.ones(size[::-1], dtype=bool)], box_xyxy=[0, 0, *size])
    assert draw_data_sheet([row]).width == CELL_WIDTH


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match="at least one sample"):
        draw_data_sheet([])


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    settings = PreparationSettings(
        "grefcoco", str(write_grefcoco(root)), str(write_coco_images(root / "images")), allow_partial=True
    )
    prepare(settings, root / "grefcoco_prepared")
    return root / "grefcoco_prepared"


def test_the_command_writes_a_sheet(prepared, tmp_path, capsys):
    output = tmp_path / "deep" / "sheet.png"
    assert main(["show-data", str(prepared), "--n", "3", "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"3 of 4 samples: {output}\n"
    assert Image.open(output).width == 3 * CELL_WIDTH
    assert main(["show-data", str(prepared), "--split", "val", "--output", str(output)]) == 0
    assert area_of(Image.open(output), NO_TARGET_COLOUR) > 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--split", "testC"], "no split 'testC'"),
        (["--n", "0"], "--n must be 1 or more, got 0"),
        (["--columns", "-1"], "--columns must be 1 or more"),
        (["--output", "sheet.txt"], "--output must end in one of"),
    ],
)
def test_bad_usage_is_told_in_one_line(prepared, arguments, message, capsys):
    assert main(["show-data", str(prepared), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_folder_that_is_no_benchmark_is_told_in_one_line(tmp_path, capsys):
    assert main(["show-data", str(tmp_path)]) == 2
    assert "no prepared benchmark" in capsys.readouterr().err
