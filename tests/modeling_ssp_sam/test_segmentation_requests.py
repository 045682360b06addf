# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Forms of images and expressions that the pipeline takes beside lists."""

import io

import numpy as np
import pytest
import torch
from datasets import Dataset
from datasets import Image as ImageFeature

from ssp_sam import ReferringSegmentationPipeline, SegmentationResult
from tests.helpers.comparison import results_agree
from tests.helpers.models import make_image, make_pipeline

pandas = pytest.importorskip("pandas")
IMAGES = [make_image(40, 30, seed=1), make_image(40, 30, seed=2)]
TEXTS = ["a dog", "the red car"]


@pytest.fixture(scope="module")
def segmenter():
    return make_pipeline()


@pytest.fixture(scope="module")
def expected(segmenter):
    return segmenter(IMAGES, TEXTS)


def agree(found, expected) -> bool:
    return len(found) == len(expected) and all(results_agree(*pair) for pair in zip(found, expected))


def test_results_are_of_the_class_that_has_methods(expected):
    assert {type(result) for results in expected for result in results} == {SegmentationResult}


@pytest.mark.parametrize("as_batch", [np.stack, lambda arrays: torch.from_numpy(np.stack(arrays))])
def test_a_batch_of_images_in_one_array_is_a_list_of_them(segmenter, expected, as_batch):
    batch = as_batch([np.asarray(image) for image in IMAGES])
    assert agree(segmenter(batch, TEXTS), expected)


@pytest.mark.parametrize(
    "as_column",
    [
        np.array,
        lambda values: np.array(values, dtype=object),
        lambda values: pandas.Series(values, index=[7, 3]),
        lambda values: Dataset.from_dict({"text": values})["text"],
        tuple,
    ],
    ids=["numpy", "objects of numpy", "pandas", "datasets", "tuple"],
)
def test_columns_of_strings_are_lists_of_expressions(segmenter, expected, as_column):
    assert agree(segmenter(IMAGES, as_column(TEXTS)), expected)
    assert results_agree(segmenter(IMAGES[0], as_column(TEXTS)), segmenter(IMAGES[0], TEXTS))
    assert results_agree(segmenter({"image": IMAGES[0], "text": as_column(TEXTS)}), segmenter(IMAGES[0], TEXTS))


def test_a_column_of_paths_is_a_list_of_images(segmenter, expected, tmp_path):
    paths = [str(tmp_path / f"{number}.png") for number in range(2)]
    for path, image in zip(paths, IMAGES):
        image.save(path)
    assert agree(segmenter(pandas.Series(paths, index=[5, 2]), TEXTS), expected)
    assert agree(segmenter(np.array(paths), TEXTS), expected)


def test_undecoded_images_of_datasets_are_read(segmenter, expected):
    def stored(image):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return {"bytes": buffer.getvalue(), "path": None}

    rows = Dataset.from_dict({"image": [stored(image) for image in IMAGES], "text": TEXTS})
    rows = rows.cast_column("image", ImageFeature(decode=False))
    assert set(rows[0]["image"]) == {"bytes", "path"}
    assert agree(list(segmenter(rows)), expected)
    assert agree(segmenter([row["image"] for row in rows], rows["text"]), expected)
    assert results_agree(segmenter(rows[0]["image"], TEXTS[0]), expected[0])


def test_bytes_that_have_lists_of_numbers_stay_images(segmenter, expected):
    buffer = io.BytesIO()
    IMAGES[0].save(buffer, "PNG")
    assert results_agree(segmenter(memoryview(buffer.getvalue()), TEXTS[0]), expected[0])


def test_a_table_of_pandas_is_a_list_of_its_rows(segmenter, expected):
    assert agree(segmenter(pandas.DataFrame({"image": IMAGES, "text": TEXTS})), expected)


@pytest.mark.parametrize(
    "field, advice",
    [
        ("points", "give input_points"),
        ("boxes", "give input_boxes"),
        ("input_masks", "masks are taken by SspSamProcessor"),
        ("mask_threshold", "give it as an argument of the call"),
        ("expression_batch_size", "give it as an argument of the call"),
    ],
)
def test_a_field_that_would_not_be_read_is_refused_in_a_request_and_passed_over_in_a_dataset(
    segmenter, expected, field, advice
):
    request = {"image": IMAGES[0], "text": TEXTS[0], field: [[1, 1]]}
    for asked in (request, [{"image": IMAGES[0], "text": TEXTS[0]}, request]):
        with pytest.raises(TypeError, match=f"a request has no field '{field}'.*{advice}"):
            segmenter(asked)
    assert agree(list(segmenter(row for row in [request])), expected[:1])


def test_several_images_in_one_dict_are_refused(segmenter):
    with pytest.raises(ValueError, match="expected one image in a dict, got 2; give a list of dicts"):
        segmenter({"image": IMAGES, "text": TEXTS})


@pytest.mark.parametrize("spatial", [{"input_points": [], "input_labels": []}, {"input_boxes": []}])
def test_no_clicks_are_no_clicks(segmenter, spatial):
    assert results_agree(segmenter(IMAGES[0], TEXTS, **spatial), segmenter(IMAGES[0], TEXTS))


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": -1}, {"num_workers": -1}])
def test_settings_are_checked_when_a_pipeline_is_made(segmenter, options):
    with pytest.raises(ValueError, match=f"{next(iter(options))} must be a whole number from"):
        ReferringSegmentationPipeline(model=segmenter.model, processor=segmenter.processor, **options)
