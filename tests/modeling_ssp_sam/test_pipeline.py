# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The pipeline of the task "referring-segmentation"."""

import io
import json

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from transformers import pipeline

from ssp_sam import EMBEDDED_CHECKPOINT, ReferringSegmentationPipeline, SspSamModel, SspSamPipeline
from tests.helpers.comparison import results_agree
from tests.helpers.models import make_image, make_pipeline

REQUESTS = [
    {"image": make_image(40, 30, seed=1), "text": ["the red car", "all the apples on the left", "a dog"]},
    {"image": make_image(20, 50, seed=2), "text": "the tree"},
    {"image": make_image(33, 33, seed=3), "expressions": ["a cat", "the blue ball"]},
    {"image": make_image(64, 48, seed=4), "expression": "everything"},
    {"image": make_image(31, 17, seed=5), "text": ["the house", "two stars"]},
]


# ---- results --------------------------------------------------------------------------------------------------------


def test_one_expression_gives_a_list_with_one_dict(segmenter, image):
    [result] = segmenter(image, "the red car")
    assert set(result) == {"mask", "score", "box", "label", "no_target", "unknown_words"}
    assert result["mask"].size == image.size and result["mask"].mode == "L"
    assert set(np.unique(np.asarray(result["mask"]))) <= {0, 255}
    assert isinstance(result["score"], float) and 0 <= result["score"] <= 1
    assert set(result["box"]) == {"xmin", "ymin", "xmax", "ymax"}
    assert all(isinstance(value, int) for value in result["box"].values())
    assert result["label"] == "the red car" and result["no_target"] is False


def test_several_expressions_keep_their_order_and_their_results(segmenter, image):
    expressions = ["the red car", "a dog", "all the apples on the left"]
    results = segmenter(image, expressions)
    assert [result["label"] for result in results] == expressions
    for expression, result in zip(expressions, results):
        assert results_agree(segmenter(image, expression), [result])
    assert len({round(result["score"], 4) for result in results}) == 3  # the words matter


def test_no_target_gives_an_empty_mask_and_no_box(image):
    [result] = make_pipeline()(image, "a unicorn", no_target_threshold=0.0)
    assert result["no_target"] is True and result["box"] is None
    assert not np.asarray(result["mask"]).any()


def test_thresholds_reach_the_post_processing(segmenter, image):
    def inside(**kwargs):
        return np.asarray(segmenter(image, "the dog", **kwargs)[0]["mask"]).mean()

    assert inside(mask_threshold=0.01) > inside(mask_threshold=0.6)
    assert segmenter(image, "the dog", min_mask_pixels=40 * 30 + 1)[0]["no_target"] is True


def test_parameters_given_at_construction_hold_for_every_call(tiny_checkpoint, image):
    segment = pipeline("referring-segmentation", model=tiny_checkpoint, min_mask_pixels=10**6, device="cpu")
    assert segment(image, "the dog")[0]["no_target"] is True


# ---- forms of input -------------------------------------------------------------------------------------------------


def test_paths_arrays_tensors_and_pictures_agree(segmenter, image, tmp_path):
    path = tmp_path / "picture.png"
    image.save(path)
    expected = segmenter(image, "the dog")
    for form in (str(path), path, np.asarray(image), torch.tensor(np.asarray(image)).permute(2, 0, 1)):
        assert results_agree(segmenter(form, "the dog"), expected)


def test_encoded_images_agree_with_the_file_they_came_from(segmenter, image):
    image.save(buffer := io.BytesIO(), "PNG")
    content, expected = buffer.getvalue(), segmenter(image, "the dog")
    forms = (content, bytearray(content), io.BytesIO(content), {"bytes": content, "path": None})
    for form in forms:
        assert results_agree(segmenter(form, "the dog"), expected)
    for result in segmenter([content, {"bytes": content, "path": "a.png"}], "the dog"):
        assert results_agree(result, expected)
    assert results_agree(segmenter({"image": {"bytes": content, "path": None}, "text": "the dog"}), expected)


def test_words_that_the_tokenizer_does_not_know_are_named(segmenter, image):
    results = segmenter(image, ["the Red car", "a Zyzzyva, the zyzzyva and the “qwertz”!"])
    assert results[0]["unknown_words"] == [] and results[1]["unknown_words"][0] == "Zyzzyva"
    assert not {"a", "the"} & set(results[1]["unknown_words"])


@pytest.mark.parametrize(
    "text, message",
    [
        ("the \udcff dog", r"is no valid Unicode: character 4 is '\\udcff'"),
        (["a dog", "\ud83d"], r"text\[0\]\[1\] is no valid Unicode"),
        ("a" * 10_001, "has 10001 characters; give an expression of at most 10000"),
    ],
)
def test_text_that_no_tokenizer_can_read_is_one_sentence(segmenter, image, text, message):
    with pytest.raises(ValueError, match=message):
        segmenter(image, text)


def test_a_dict_equals_separate_arguments(segmenter, image):
    expected = segmenter(image, ["the dog", "a cat"])
    for key in ("text", "expressions"):
        assert results_agree(segmenter({"image": image, key: ["the dog", "a cat"]}), expected)
    assert results_agree(segmenter(image=image, expressions=["the dog", "a cat"]), expected)


def test_lists_of_images_take_one_entry_of_text_each(segmenter):
    images = [make_image(seed=1), make_image(seed=2)]
    results = segmenter(images, [["the dog", "a cat"], ["a tree"]])
    assert [len(result) for result in results] == [2, 1]
    assert results_agree(results[0], segmenter(images[0], ["the dog", "a cat"]))
    assert results_agree(segmenter(images, ["the dog", "a cat"])[1], segmenter(images[1], "a cat"))
    assert results_agree(segmenter(images, "the dog")[1], segmenter(images[1], "the dog"))


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
def test_batches_equal_single_images(segmenter, batch_size):
    expected = [segmenter(request) for request in REQUESTS]
    results = segmenter(REQUESTS, batch_size=batch_size)
    assert [len(result) for result in results] == [3, 1, 2, 1, 2]
    assert all(results_agree(one, other) for one, other in zip(results, expected))


def test_groups_of_expressions_equal_one_pass(segmenter, image):
    expressions = ["the dog", "a cat", "the red car", "all apples", "the tree"]
    expected = segmenter(image, expressions)
    assert results_agree(segmenter(image, expressions, expression_batch_size=2), expected)


def test_generators_and_datasets_stream(segmenter):
    expected = [segmenter(request) for request in REQUESTS]
    read = []

    def requests():
        for number, request in enumerate(REQUESTS):
            read.append(number)
            yield request

    results = segmenter(requests(), batch_size=2)
    assert results_agree(next(iter(results)), expected[0]) and len(read) <= 3
    assert all(results_agree(one, other) for one, other in zip(segmenter(iter(REQUESTS)), expected))


def test_a_hugging_face_dataset_of_scenes_is_read_as_it_is(segmenter):
    images = [request["image"] for request in REQUESTS]
    data = Dataset.from_dict({"image": images, "expression": ["the dog"] * 5, "other": list(range(5))})
    results = list(segmenter(data, batch_size=2))
    assert len(segmenter(data)) == 5
    assert all(results_agree(one, segmenter(image, "the dog")) for one, image in zip(results, images))


def test_a_dataset_of_images_takes_one_text_for_all(segmenter):
    images = [request["image"] for request in REQUESTS]
    results = list(segmenter((image for image in images), text=["the dog", "a cat"]))
    assert all(results_agree(one, segmenter(image, ["the dog", "a cat"])) for one, image in zip(results, images))


def test_worker_processes_give_the_same(segmenter):
    results = segmenter(REQUESTS, batch_size=2, num_workers=1)
    assert all(results_agree(one, segmenter(request)) for one, request in zip(results, REQUESTS))


def test_an_empty_list_gives_an_empty_list(segmenter):
    assert segmenter([]) == [] and segmenter([], []) == []


def test_each_image_is_encoded_once(image, monkeypatch):
    segment = make_pipeline()
    counts = []
    encode = segment.model.sam.vision_encoder.forward
    monkeypatch.setattr(
        segment.model.sam.vision_encoder, "forward", lambda x, *a, **k: (counts.append(len(x)), encode(x, *a, **k))[1]
    )
    segment(image, ["the dog"] * 7, expression_batch_size=2)
    assert counts == [1]
    segment(REQUESTS, batch_size=3)
    assert counts == [1, 3, 2]


# ---- clicks and boxes -----------------------------------------------------------------------------------------------


def test_clicks_and_boxes_change_the_mask(segmenter, image):
    plain = segmenter(image, "the dog")
    clicked = segmenter(image, "the dog", input_points=[[5, 5], [30, 20]], input_labels=[1, 0])
    boxed = segmenter(image, "the dog", input_boxes=[2, 2, 20, 20])
    assert plain[0]["score"] != clicked[0]["score"] != boxed[0]["score"] != plain[0]["score"]


def test_shared_clicks_equal_clicks_per_expression(segmenter, image):
    shared = segmenter(image, ["the dog", "a cat"], input_points=[[5, 5]], input_boxes=[2, 2, 20, 20])
    each = segmenter(
        image, ["the dog", "a cat"], input_points=[[[5, 5]], [[5, 5]]], input_boxes=[[2, 2, 20, 20], [2, 2, 20, 20]]
    )
    assert results_agree(shared, each)


def test_an_expression_may_go_without_clicks_and_box(segmenter, image):
    results = segmenter(image, ["the dog", "a cat"], input_points=[None, [[5, 5]]], input_boxes=[[2, 2, 20, 20], None])
    assert results_agree(results[:1], segmenter(image, "the dog", input_boxes=[2, 2, 20, 20]))
    assert results_agree(results[1:], segmenter(image, "a cat", input_points=[[5, 5]]))


def test_with_clicks_or_a_box_the_box_is_that_of_the_mask_and_without_that_of_the_box_head(segmenter, image):
    spatial = {"input_points": [None, [[5, 5]], None], "input_boxes": [None, None, [2, 2, 20, 20]]}
    plain, clicked, boxed = segmenter(image, ["the dog", "a cat", "the car"], **spatial)
    for result in (clicked, boxed):
        assert tuple(result["box"].values()) == result["mask"].getbbox()
    assert results_agree([plain], segmenter(image, "the dog"))
    assert tuple(plain["box"].values()) != plain["mask"].getbbox()


def test_clicks_of_one_image_leave_the_others_in_its_batch_alone(segmenter):
    requests = [
        {**REQUESTS[0], "input_points": [[[5, 5]], [[6, 6], [7, 7]], [[8, 8]]]},
        REQUESTS[1],
        {**REQUESTS[2], "input_boxes": [1, 1, 20, 20]},
        {**REQUESTS[3], "input_points": [[9, 9]], "input_labels": [0], "input_boxes": [1, 1, 20, 20]},
    ]
    results = segmenter(requests, batch_size=4)
    assert all(results_agree(one, segmenter(request)) for one, request in zip(results, requests))


# ---- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((None, "a dog"), "expected an image or requests as first argument, got None"),
        ((make_image(),), "expected expressions once, as text=... or in the dict, got them 0 times"),
        ((make_image(), ""), "expected words in expression 1, got ''"),
        ((make_image(), ["a dog", " \t"]), r"expected words in expression 2, got ' \\t'"),
        ((make_image(), []), "expected at least one expression, got an empty list"),
        ((make_image(), 7), "expected a string or a list of strings as expressions, got 7"),
        (([make_image()] * 2, ["a", "b", "c"]), "one list of expressions per image, got 3 for 2 images"),
        (([make_image()], [["a", " "]]), "expected words in expression 2 of image 1, got ' '"),
        (({"image": make_image(), "text": "a"}, "b"), "expected expressions once, .* got them 2 times"),
        (({"picture": 1, "text": "a"},), r"with 'image' and 'text', got the keys \['picture', 'text'\]"),
        ((7, "a dog"), "expected an image, a request, a list, a dataset or an iterable, got int"),
        (("nowhere.png", "a dog"), "no image file at 'nowhere.png'"),
    ],
)
def test_what_is_wrong_is_said_with_its_value(segmenter, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        segmenter(*arguments)


def test_bad_clicks_are_refused(segmenter, image):
    with pytest.raises(ValueError, match="expected input_points beside input_labels, got None"):
        segmenter(image, "a dog", input_labels=[1])
    with pytest.raises(ValueError, match=r"expected input_boxes .* got 2 levels and 3 entries"):
        segmenter(image, ["a dog", "a cat"], input_boxes=[[1, 1, 5, 5]] * 3)
    with pytest.raises(ValueError, match="expected input_points .* got 1 levels and 2 entries"):
        segmenter(image, "a dog", input_points=[5, 5])
    with pytest.raises(ValueError, match="input_points can be given beside one image only"):
        segmenter([image, image], "a dog", input_points=[[1, 1]])
    with pytest.raises(ValueError, match="outside its image"):
        segmenter(image, "a dog", input_points=[[100, 1]])


def test_an_unknown_parameter_is_refused(segmenter, image):
    with pytest.raises(TypeError, match="threshhold"):
        segmenter(image, "a dog", threshhold=0.3)


def encoded(image: Image.Image, kind: str, **kwargs) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **kwargs)
    return stream.getvalue()


def test_a_truncated_file_is_refused_in_one_sentence(segmenter, tmp_path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(encoded(make_image(300, 200), "JPEG")[:2000])
    with pytest.raises(ValueError, match="cut.jpg.* cut off"):
        segmenter(str(path), "a dog")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("size", [(24, 18), (1, 1), (1, 4000)])
def test_every_kind_and_shape_of_picture_gives_a_mask_of_its_size(segmenter, mode, size):
    gray = make_image(*size).convert("L")
    picture = Image.fromarray(np.asarray(gray, np.uint16) * 257) if mode == "I;16" else gray.convert(mode)
    assert segmenter(picture, "a dog")[0]["mask"].size == size


def test_masks_come_upright_for_a_turned_photograph(segmenter, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    path = tmp_path / "turned.png"
    make_image(40, 20).save(path, exif=exif)
    upright = make_image(40, 20).rotate(-90, expand=True)
    assert results_agree(segmenter(str(path), "a dog"), segmenter(upright, "a dog"))
    assert segmenter(str(path), "a dog")[0]["mask"].size == (20, 40)


# ---- loading and saving ---------------------------------------------------------------------------------------------


def test_saving_keeps_model_and_processor(segmenter, image, tmp_path):
    segmenter.save_pretrained(tmp_path)
    loaded = pipeline("referring-segmentation", model=str(tmp_path), device="cpu")
    assert isinstance(loaded, ReferringSegmentationPipeline)
    assert results_agree(loaded(image, ["the dog", "a cat"]), segmenter(image, ["the dog", "a cat"]))
    assert loaded.processor.no_target_threshold == segmenter.processor.no_target_threshold
    again = tmp_path / "again"
    loaded.save_pretrained(again)
    assert results_agree(
        pipeline("referring-segmentation", model=str(again), device="cpu")(image, "a"), loaded(image, "a")
    )


def test_a_pipeline_loaded_in_a_given_precision_can_be_saved(tiny_checkpoint, tmp_path):
    pipeline("referring-segmentation", model=tiny_checkpoint, device="cpu", dtype=torch.float32).save_pretrained(
        tmp_path
    )
    assert "dtype" not in json.loads((tmp_path / "tokenizer_config.json").read_text())


def test_saving_into_a_file_is_refused(segmenter, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="expected a folder to save into, got the file"):
        segmenter.save_pretrained(tmp_path / "file")


def test_half_precision_checkpoints_compute_in_single_precision_on_cpu(image, tmp_path):
    segment = make_pipeline()
    segment.model.half()
    segment.save_pretrained(tmp_path)
    loaded = pipeline("referring-segmentation", model=str(tmp_path), device="cpu")
    assert loaded.model.dtype == torch.float32
    segment.model.float()
    assert results_agree(loaded(image, "the dog"), segment(image, "the dog"))
    asked = pipeline("referring-segmentation", model=str(tmp_path), device="cpu", dtype=torch.float16)
    assert asked.model.dtype == torch.float16
    for dtype in (torch.float16, "float16"):
        model = SspSamModel.from_pretrained(tmp_path, dtype=dtype)
        asked = pipeline("referring-segmentation", model=model, processor=segment.processor, device="cpu")
        assert asked.model is model and model.dtype == torch.float16


def test_dropout_is_off_even_for_a_model_in_training_mode(image):
    segment = make_pipeline()
    segment.model.train()
    again = ReferringSegmentationPipeline(model=segment.model, processor=segment.processor, device="cpu")
    assert results_agree(again(image, "the dog"), again(image, "the dog"))


def test_a_model_without_processor_is_refused():
    with pytest.raises(ValueError, match="expected a processor beside the model, got None"):
        ReferringSegmentationPipeline(model=make_pipeline().model, device="cpu")


def test_both_names_mean_the_same_class():
    assert SspSamPipeline is ReferringSegmentationPipeline


@pytest.mark.skipif(not EMBEDDED_CHECKPOINT.is_dir(), reason="this checkout has no embedded checkpoint")
def test_without_a_model_the_embedded_checkpoint_is_used(image):
    segment = pipeline("referring-segmentation", device="cpu")
    assert segment(image, "the dog")[0]["mask"].size == image.size
