# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a model saw on its way to an answer, and the picture of it."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import BertTokenizer, CLIPTokenizer

from ssp_sam import SspSamProcessor
from ssp_sam.cli.main import main
from ssp_sam.configuration.presets import ABLATIONS
from ssp_sam.explain import Explanation, WordWeight, draw_explanation, explain
from ssp_sam.processing.canvas_geometry import CanvasPlacement
from ssp_sam.processing.visualization.explanation_panels import SCALE, colour_of, draw_map, draw_words
from ssp_sam.processing.visualization.painting import PANEL_BACKGROUND
from tests.helpers.comparison import results_agree
from tests.helpers.golden_reference import golden_model
from tests.helpers.models import SPECIAL_TOKENS, make_image, make_pipeline
from tests.helpers.original_checkpoints import save_tokenizer


def explanation(image: Image.Image, processor, **maps) -> Explanation:
    """An explanation that no model gave: nothing found, and the maps of the caller."""
    placement = processor.image_processor.box_placement((image.height, image.width))
    result = {"mask": Image.new("L", image.size), "score": 0.5, "box": None, "label": "it", "no_target": True}
    maps = {"similarity_map": None, "verification_map": None, **maps}
    return Explanation(image, result, [WordWeight("it", 1.0)], "", placement=placement, **maps)


def differs(first: Image.Image, second: Image.Image) -> bool:
    return first.size != second.size or not np.array_equal(np.asarray(first), np.asarray(second))


# ---- what is computed -----------------------------------------------------------------------------------------------


def test_answers_are_those_of_the_pipeline(segmenter, image):
    texts = ["the red car", "a blue ball"]
    for found, expected in zip(explain(segmenter, image, texts), segmenter(image, texts), strict=True):
        assert results_agree([found.result], [expected])


def test_maps_are_those_of_the_model(segmenter, image):
    found = explain(segmenter.model, image, "the red car", processor=segmenter.processor)[0]
    inputs = segmenter.processor(images=image, text="the red car")
    with torch.no_grad():
        output = segmenter.model(**inputs, output_attentions=True)
    for name in ("similarity_map", "verification_map"):
        np.testing.assert_allclose(getattr(found, name), output[name][0].numpy(), atol=1e-5)
    np.testing.assert_allclose([word.weight for word in found.words], output.word_attention[0].numpy(), atol=1e-5)


def test_words_of_a_batch_have_no_padding_and_sum_to_one(segmenter, image):
    short, long = explain(segmenter, image, ["the dog", "the red car on the left"])
    assert [word.text for word in short.words] == ["[CLS]", "the", "dog", "[SEP]"]
    assert [word.special for word in short.words] == [True, False, False, True]
    for one in (short, long):
        assert sum(word.weight for word in one.words) == pytest.approx(1, abs=1e-5) and one.unread == ""


def test_pieces_of_a_word_are_joined_and_their_weights_added(segmenter, image):
    pieces = [*SPECIAL_TOKENS, "red", "car", "##pet", "##s", "!"]
    tokenizer = BertTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, model_max_length=32)
    processor = SspSamProcessor.from_model_config(segmenter.model.config, tokenizer)
    found = explain(segmenter.model, image, "Red carpets!", processor=processor)[0]
    with torch.no_grad():
        output = segmenter.model(**processor(images=image, text="red carpets!"), output_attentions=True)
    weights = output.word_attention[0].tolist()
    assert [word.text for word in found.words] == ["[CLS]", "red", "carpets", "!", "[SEP]"]
    expected = [weights[0], weights[1], sum(weights[2:5]), weights[5], weights[6]]
    assert [word.weight for word in found.words] == pytest.approx(expected, abs=1e-5)


def test_the_padding_of_clips_text_tower_is_not_shown(tmp_path, image):
    model = golden_model()
    tokenizer = CLIPTokenizer.from_pretrained(save_tokenizer(tmp_path))
    processor = SspSamProcessor.from_model_config(model.config, tokenizer)
    found = explain(model, image, "the dog", processor=processor)[0]
    assert [word.text for word in found.words] == ["<|startoftext|>", "the", "dog", ".", "<|endoftext|>"]
    assert sum(word.weight for word in found.words) == pytest.approx(1, abs=1e-5)


def test_a_word_that_the_tokenizer_does_not_know_is_shown_as_written(segmenter, image):
    word = explain(segmenter, image, "the zyzzyva")[0].words[2]
    assert (word.text, word.special) == ("zyzzyva", False)


def test_the_end_of_a_long_expression_is_told_apart(segmenter, image):
    found = explain(segmenter, image, "the red car " * 11 + "on the left")[0]
    assert len(found.words) == 32 and sum(word.weight for word in found.words) == pytest.approx(1, abs=1e-5)
    read = " ".join(word.text for word in found.words if not word.special)
    assert f"{read} {found.unread}" == "the red car " * 11 + "on the left" and found.unread.endswith("on the left")


def test_a_model_in_training_stays_in_training(image):
    segmenter = make_pipeline()
    segmenter.model.train()
    explain(segmenter, image, "the dog")
    assert segmenter.model.training


# The row on SigLIP differs in its towers alone, and those are tiny here.
@pytest.mark.parametrize("name", sorted(set(ABLATIONS) - {"siglip2"}))
def test_every_row_of_the_ablation_is_explained(name, image):
    segmenter = make_pipeline(single_tower=False, **ABLATIONS[name])
    found = explain(segmenter, image, "the dog")[0]
    config = segmenter.model.config
    assert (found.similarity_map is None) == (not config.use_similarity_map)
    assert (found.verification_map is None) == (config.verification == "none")
    assert (found.words[0].weight is None) == (config.linguistic_adapter != "words")
    assert draw_explanation(found).width > 1000


def test_a_model_without_processor_is_refused(segmenter, image):
    with pytest.raises(ValueError, match="expected a processor beside a SspSamModel, got None"):
        explain(segmenter.model, image, "the dog")


# ---- where maps lie -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(40, 30), (30, 40), (7, 60), (60, 7), (1, 1)])
def test_a_map_lies_over_the_image_as_the_processor_laid_the_image_on_the_canvas(segmenter, size):
    """Colours that grow across and down the canvas tell, at every pixel, which part of the canvas is over it."""
    processor = segmenter.processor
    found = explanation(make_image(*size), processor)
    cells = 64
    across = np.tile((np.arange(cells, dtype=np.float32) + 0.5) / cells, (cells, 1))
    x_of, y_of = found.over_image(across, size), found.over_image(across.T, size)
    for x, y in {(0, 0), (size[0] - 1, size[1] - 1), (size[0] // 2, size[1] // 2)}:
        cx, cy, _, _ = found.placement.to_canvas((x, y, x + 1, y + 1))
        assert x_of[y, x] == pytest.approx(cx, abs=1 / cells) and y_of[y, x] == pytest.approx(cy, abs=1 / cells)


def test_padding_of_the_canvas_is_not_shown():
    grid = np.zeros((4, 4), np.float32)
    grid[2:] = 1.0  # below an image that fills the upper half of the canvas
    flat = Image.new("RGB", (40, 20))
    placement = CanvasPlacement.of((20, 40), (16, 32), (0, 0), (32, 32))
    result = {"mask": Image.new("L", flat.size), "score": 0.5, "box": None, "label": "it", "no_target": True}
    found = Explanation(flat, result, [], "", None, grid, placement)
    values = found.over_image(grid, (40, 20))
    assert values.shape == (20, 40) and (values[:14] == 0).all() and values.max() <= 0.5


# ---- how it is drawn ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(1, 1), (20, 15), (1, 2000), (2000, 1), (300, 500), (2500, 1500)])
def test_images_of_every_shape_are_drawn(segmenter, size):
    drawn = draw_explanation(explain(segmenter, make_image(*size), "the dog"))
    assert drawn.mode == "RGB" and 780 <= drawn.width <= 1400 and drawn.height < 700


def test_each_part_of_an_explanation_shows(segmenter, image):
    grid = np.arange(16, dtype=np.float32).reshape(4, 4)
    plain = explanation(image, segmenter.processor, similarity_map=grid, verification_map=grid)
    drawn = draw_explanation(plain)
    for changes in (
        {"similarity_map": grid.T.copy()},
        {"verification_map": grid * 2},
        {"similarity_map": None},
        {"words": [WordWeight("they", 1.0)]},
        {"words": [WordWeight("it", None)]},
        {"words": [WordWeight("it", 1.0, special=True)]},
        {"unread": "and more"},
        {"result": {**plain.result, "score": 0.4}},
    ):
        assert differs(draw_explanation(Explanation(**{**vars(plain), **changes})), drawn), changes


def test_several_expressions_are_drawn_below_each_other(segmenter, image):
    found = explain(segmenter, image, ["the dog", "the cat"])
    both = draw_explanation(found)
    first = draw_explanation(found[0])
    assert not differs(both.crop((0, 0, *first.size)), first)
    assert both.height == first.height + draw_explanation(found[1]).height + 2
    with pytest.raises(ValueError, match="expected at least one explanation, got none"):
        draw_explanation([])


def test_the_ends_of_the_scale_are_the_lowest_and_highest_value_of_the_map():
    assert np.array_equal(colour_of(np.array([0.0, 1.0])), SCALE[[0, -1]])
    values = np.linspace(0.3, 0.4, 200, dtype=np.float32)[None].repeat(100, axis=0)
    image = Image.new("RGB", (200, 100))
    assert not differs(
        draw_map(image, "map", values).crop((0, 0, 288, 140)),
        draw_map(image, "map", values * 10).crop((0, 0, 288, 140)),
    )
    assert differs(draw_map(image, "map", values), draw_map(image, "map", values * 10))  # the numbers below


def test_a_constant_map_is_drawn():
    image = Image.new("RGB", (200, 100), "white")
    inside = np.asarray(draw_map(image, "map", np.full((100, 200), 0.25, np.float32)))[60:100, 60:200]
    assert (inside == inside[0, 0]).all()


def test_words_are_shaded_by_weight_and_wrap():
    def ground(drawn: Image.Image, x: int, y: int = 42):
        return drawn.getpixel((x, y))

    drawn = draw_words([WordWeight("a", 0.1), WordWeight("b", 0.7), WordWeight("[SEP]", 0.2, True)], "", 400)
    low, high, special = (sum(ground(drawn, x)) for x in (19, 61, 105))
    assert special == sum(PANEL_BACKGROUND) and low < high and high == SCALE[-1].sum()
    words = [WordWeight("word", 0.01)] * 100
    narrow, wide = draw_words(words, "", 400), draw_words(words, "", 1200)
    assert narrow.width == 400 and narrow.height > 2 * wide.height
    assert draw_words([WordWeight("x" * 500, 1.0)], "", 400).height > draw_words([WordWeight("x", 1.0)], "", 400).height


# ---- the command ----------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    """Runs the command on a tiny model in a folder with one picture."""
    monkeypatch.chdir(tmp_path)
    make_image(48, 36).save("photo.png")

    def run_once(*words: str):
        code = main(["explain", *words, "--model", tiny_checkpoint])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_once


def test_the_command_writes_a_picture_and_prints_weights(run, tmp_path):
    code, out, err = run("photo.png", "the red car", "a dog")
    assert (code, err) == (0, "")
    assert "photo.png (48 x 36)" in out and "2. a dog: found, score" in out and "drawing explain.png" in out
    assert "weights: [CLS] 0." in out and "red 0." in out
    with Image.open(tmp_path / "explain.png") as picture:
        assert picture.format == "PNG" and picture.width > 1000


def test_the_picture_goes_where_it_is_asked_for(run, tmp_path):
    assert run("photo.png", "a dog", "--output", "deep/down/why.jpg")[0] == 0
    assert (tmp_path / "deep/down/why.jpg").is_file()
    assert run("photo.png", "a dog", "--output", "deep")[0] == 0
    assert (tmp_path / "deep/photo_explain.png").is_file()


@pytest.mark.parametrize(
    "words, message",
    [
        (["photo.png"], "the following arguments are required: EXPRESSION"),
        (["nowhere.png", "a dog"], "no image file or folder at 'nowhere.png'"),
        ([".", "a dog"], "expected one image, got the folder '.'"),
        (["photo.png", " "], "expression 1 is empty, got ' '"),
        (["photo.png", "a dog", "--output", "photo.png"], "is an input image and would be lost"),
        (["photo.png", "a dog", "--output", "why.docx"], "--output must end in one of .bmp"),
        (["text.png", "a dog"], "could not read an image from 'text.png'"),
    ],
)
def test_bad_input_exits_with_2_and_one_line(run, tmp_path, words, message):
    (tmp_path / "text.png").write_text("not an image")
    code, out, err = run(*words)
    assert code == 2 and message in err and out == "" and err.count("\n") == 1
