# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The torch-free script: its numpy steps give what the processor gives."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPTokenizer

from ssp_sam import EMBEDDED_CHECKPOINT, SspSamProcessor
from ssp_sam.deployment.numpy_processor import NumpyProcessor, read_rgb, resize_bilinear
from ssp_sam.deployment.segment_onnx import main
from tests.helpers.models import make_image, make_tokenizer, tiny_config

EXPRESSIONS = [
    "the red car",
    "The  RED\tCar ,",
    "zeppelin über the blue 42 stars",
    "a",
    "the dog left of the big tree " * 12,
]
PICTURES = (
    "landscape",
    "portrait",
    "tiny",
    "strip",
    "grey",
    "grey with alpha",
    "transparent",
    "palette",
    "deep",
    "turned",
)
IMAGE_TENSORS = ("pixel_values", "semantic_pixel_values")


def tiny_clip_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with sixteen characters, of the 34 ids that the tiny text tower knows."""
    symbols = list("!.abcdeghilnortu")
    vocab = [*symbols, *(f"{symbol}</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(vocab)}, merges=[], model_max_length=32)


def tiny_processor(kind: str) -> SspSamProcessor:
    """The processor of one of the tiny models."""
    tokenizer = tiny_clip_tokenizer() if kind == "paper" else make_tokenizer()
    return SspSamProcessor.from_model_config(tiny_config(kind), tokenizer)


def save_picture(name: str, folder: Path) -> Path:
    """Writes one of `PICTURES` and returns its path."""
    path = folder / f"{name.replace(' ', '-')}.png"
    sizes = {"portrait": (31, 57), "tiny": (3, 2), "strip": (90, 1)}
    picture = make_image(*sizes.get(name, (57, 31)))
    if name == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        path = path.with_suffix(".jpg")
        picture.save(path, exif=exif)
        return path
    if name in ("grey", "grey with alpha", "transparent"):
        picture = picture.convert("L" if name == "grey" else "RGB")
    if name in ("grey with alpha", "transparent"):
        picture.putalpha(Image.fromarray(np.arange(57 * 31, dtype=np.uint16).astype(np.uint8).reshape(31, 57)))
        picture = picture.convert("LA") if name == "grey with alpha" else picture
    if name == "palette":
        picture = picture.quantize(16)
    if name == "deep":
        picture = Image.fromarray(np.arange(57 * 31, dtype=np.uint16).reshape(31, 57) * 37)
    picture.save(path)
    return path


@pytest.fixture(scope="module", params=["default", "paper", "single tower", "embedded"])
def processors(request, tmp_path_factory) -> tuple[SspSamProcessor, NumpyProcessor]:
    """A processor, and the numpy one that reads its folder."""
    if request.param == "embedded":
        return SspSamProcessor.from_pretrained(EMBEDDED_CHECKPOINT), NumpyProcessor(EMBEDDED_CHECKPOINT)
    folder = tmp_path_factory.mktemp("processor")
    processor = tiny_processor(request.param)
    processor.save_pretrained(folder)
    return processor, NumpyProcessor(folder)


@pytest.mark.parametrize("texts", [EXPRESSIONS, EXPRESSIONS[:1], EXPRESSIONS[2:4]])
def test_expressions_become_the_same_ids(processors, texts):
    expected, given = processors[0](text=texts), processors[1].tokenize(texts)
    for name in ("input_ids", "attention_mask"):
        np.testing.assert_array_equal(given[name], expected[name].numpy())


@pytest.mark.parametrize("text", [*EXPRESSIONS, "The Zyzzyva, 红色的汽车 (42) a", ""])
def test_unknown_words_are_those_of_the_processor(processors, text):
    assert processors[1].tokenize.unknown_words(text) == processors[0].unknown_words(text)


def test_an_expression_that_is_cut_off_is_announced(processors, capsys):
    processors[1].tokenize(EXPRESSIONS[-1:])
    limit = processors[0].max_expression_length
    assert f"more than {limit}; its end is cut off" in capsys.readouterr().err


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_goes_to_the_side_of_the_tokenizer(side, tmp_path):
    tokenizer = make_tokenizer()
    tokenizer = type(tokenizer)(vocab=tokenizer.get_vocab(), padding_side=side)
    processor = SspSamProcessor.from_model_config(tiny_config("default"), tokenizer)
    processor.save_pretrained(tmp_path)
    expected, given = processor(text=EXPRESSIONS[:4]), NumpyProcessor(tmp_path).tokenize(EXPRESSIONS[:4])
    np.testing.assert_array_equal(given["attention_mask"], expected["attention_mask"].numpy())
    assert given["attention_mask"][3, 0] == (side == "right")


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_become_the_same_pixels(processors, name, tmp_path):
    path = save_picture(name, tmp_path)
    expected = processors[0](images=str(path))
    picture = read_rgb(path)
    given = processors[1].canvases(picture)
    assert set(given) == set(expected) & set(IMAGE_TENSORS)
    assert [picture.height, picture.width] == expected["original_sizes"][0].tolist()
    for tensor in given:
        np.testing.assert_array_equal(given[tensor], expected[tensor].numpy())


@pytest.mark.parametrize("size", [(31, 57), (57, 31), (2, 3), (1, 90), (300, 200)])
def test_outputs_become_the_same_answers(processors, size):
    generator = torch.Generator().manual_seed(size[0])
    canvas = processors[0].image_processor.pad_size.height
    outputs = {
        "pred_masks": torch.randn(6, 1, canvas // 4, canvas // 4, generator=generator) * 4 - 1,
        "pred_boxes": torch.rand(6, 4, generator=generator) * 0.5 + 0.2,
        "no_target_logits": torch.tensor([-9.0, -3, -2, -1, 0, 9]),
    }
    outputs["pred_masks"][1] -= 100  # an empty mask
    for left_out in ((), ("pred_boxes",), ("pred_boxes", "no_target_logits")):
        kept = {name: value for name, value in outputs.items() if name not in left_out}
        expected = processors[0].post_process_referring_segmentation(kept, [size])
        given = processors[1].read_outputs({name: value.numpy() for name, value in kept.items()}, size)
        assert [row["no_target"] for row in given] == [row["no_target"] for row in expected]
        for wanted, answer in zip(expected, given, strict=True):
            np.testing.assert_array_equal(answer["mask"], wanted["mask"].numpy())
            assert answer["score"] == pytest.approx(wanted["score"], abs=1e-6)
            assert answer["box_xyxy"] == (None if wanted["box_xyxy"] is None else pytest.approx(wanted["box_xyxy"]))


@pytest.mark.parametrize("size", [(5, 9), (64, 40), (7, 7), (1, 1)])
def test_bilinear_resizing_is_that_of_torch(size):
    values = np.random.default_rng(0).standard_normal((7, 11)).astype(np.float32)
    expected = torch.nn.functional.interpolate(torch.tensor(values)[None, None], size=size, mode="bilinear")[0, 0]
    np.testing.assert_allclose(resize_bilinear(values, size), expected.numpy(), atol=1e-5)


def test_clicks_and_box_become_one_list_of_points(processors):
    size, click, box = (31, 57), [[10.0, 20.0]], [5.0, 6.0, 40.0, 30.0]
    picture = make_image(57, 31)
    expected = processors[0](picture, "a", input_points=click, input_labels=[0], input_boxes=box)
    given = processors[1].points(size, click, [0], box)
    assert given["input_labels"].tolist() == [[[0, 2, 3]]]
    np.testing.assert_allclose(given["input_points"][:, :, :1], expected["input_points"].numpy())
    np.testing.assert_allclose(given["input_points"][:, :, 1:].reshape(1, 1, 4), expected["input_boxes"].numpy())
    assert processors[1].points(size, click)["input_labels"].tolist() == [[[1, -1]]]
    assert processors[1].points(size)["input_points"].shape == (1, 1, 0, 2)


@pytest.mark.parametrize(
    "prompts, message",
    [
        ({"points": [[58, 3]]}, r"\(58, 3\) lies outside the image of width 57 and height 31"),
        ({"points": [[1, 1]], "labels": [2]}, r"a label 0 or 1 for each of 1 points, got \[2\]"),
        ({"points": [[1, 1]], "labels": [1, 0]}, r"a label 0 or 1 for each of 1 points, got \[1, 0\]"),
        ({"labels": [1]}, r"a label 0 or 1 for each of 0 points, got \[1\]"),
        ({"box": [9, 1, 3, 8]}, r"with x0 < x1, y0 < y1, got \[9, 1, 3, 8\]"),
    ],
)
def test_points_that_do_not_fit_are_refused_with_their_values(processors, prompts, message):
    with pytest.raises(ValueError, match=message):
        processors[1].points((31, 57), **prompts)


@pytest.mark.parametrize(
    "texts, message",
    [
        ([""], r"text\[0\] is empty, got ''"),
        (["a", " \n"], r"text\[1\] is empty"),
        ([7], r"expected a string as text\[0\], got 7"),
        (["a", "the \udcff dog"], r"text\[1\] is no valid Unicode: character 4 is '\\udcff'"),
        (["a" * 10_001], "has 10001 characters; give an expression of at most 10000"),
    ],
)
def test_an_expression_that_cannot_be_read_is_refused(processors, texts, message):
    with pytest.raises(ValueError, match=message):
        processors[1].tokenize(texts)


def test_a_damaged_picture_is_refused_by_its_name(tmp_path):
    (tmp_path / "photo.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"could not read an image from .*photo\.png"):
        read_rgb(tmp_path / "photo.png")


@pytest.mark.parametrize(
    "words, message",
    [
        (["photo.png"], "the following arguments are required: EXPRESSION"),
        (["missing.png", "a dog"], "expected an image file, but 'missing.png' is missing"),
        (["photo.png", "a dog", "--output", "photo.png"], "the result 'photo.png' is the image itself"),
        (["photo.png", "a dog", "--point", "1,2"], "expected 3 numbers with commas between them, got '1,2'"),
        (["photo.png", "a dog", "--box", "1,1,2,2", "--box", "3,3,4,4"], "--box is one box for all expressions, got 2"),
        (["photo.png", "a dog", "--threads", "-1"], "--threads must be at least 0, got -1"),
        (["photo.png", "a dog", "--model", "."], "no processor_config.json in '.'"),
    ],
)
def test_the_command_refuses_bad_input_in_one_line_and_keeps_the_picture(words, message, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime", reason="running ONNX needs the extra ssp-sam[onnx]")
    monkeypatch.chdir(tmp_path)
    make_image().save("photo.png")
    before = (tmp_path / "photo.png").read_bytes()
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2 and message in error and error.count("\n") == 1
    assert (tmp_path / "photo.png").read_bytes() == before
