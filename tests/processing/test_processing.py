# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""One call for images, expressions, clicks and labels: layouts, tokens, prompts, errors, saving."""

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, BertTokenizer, CLIPTokenizer
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.models.sam.processing_sam import SamProcessor

from ssp_sam.configuration.configuration_ssp_sam import SspSamConfig
from ssp_sam.processing.image_processing_ssp_sam import SspSamImageProcessor
from ssp_sam.processing.processing_ssp_sam import SspSamProcessor

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "red", "blue", "car", "dog", "left", "of", ".", "big"]
RED_CAR = [2, 5, 6, 8, 3]


@pytest.fixture(scope="module")
def tokenizer() -> BertTokenizer:
    return BertTokenizer(vocab={word: index for index, word in enumerate(WORDS)})


@pytest.fixture(scope="module")
def clip_tokenizer() -> CLIPTokenizer:
    symbols = [chr(code) for code in range(33, 127)]
    vocab = [*symbols, *(symbol + "</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(vocab)}, merges=[], pad_token="<|endoftext|>"
    )


@pytest.fixture(scope="module")
def processor(tokenizer) -> SspSamProcessor:
    return SspSamProcessor(SspSamImageProcessor(size=64, semantic_size=32, mask_size=32), tokenizer)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


# Layouts of images and text


def test_one_image_and_one_expression(processor, image):
    output = processor(image, "the red car")
    assert output.input_ids.tolist() == [RED_CAR] and output.attention_mask.tolist() == [[1] * 5]
    assert output.image_index.tolist() == [0]
    assert set(output) == set(processor.model_input_names)


def test_several_expressions_share_one_image(processor, image):
    output = processor(image, ["the red car", "dog"])
    assert output.pixel_values.shape[0] == 1 and output.image_index.tolist() == [0, 0]
    assert output.input_ids.tolist() == [RED_CAR, [2, 9, 3, 0, 0]]
    assert output.attention_mask.tolist() == [[1] * 5, [1, 1, 1, 0, 0]]


def test_an_empty_list_among_lists_of_images_is_refused_since_the_next_image_would_stand_in(processor, image):
    with pytest.raises(ValueError, match=r"an image in each list of images, got \[0, 2\] of them"):
        processor([[], [image, image]], ["a dog", "a cat"])


def test_as_many_images_as_expressions_pair_up(processor, image):
    assert processor([image, image], ["dog", "car"]).image_index.tolist() == [0, 1]


def test_lists_of_expressions_may_differ_in_length(processor, image):
    output = processor([image] * 4, [["dog", "car", "dog"], [], "car", ["dog"]])
    assert output.image_index.tolist() == [0, 0, 0, 2, 3]
    assert output.input_ids.shape[0] == 5 and output.pixel_values.shape[0] == 4


def test_images_alone_give_image_tensors_alone(processor, image):
    names = {"pixel_values", "semantic_pixel_values", "original_sizes", "reshaped_input_sizes"}
    assert set(processor(images=image)) == names


def test_text_alone_gives_text_tensors_alone(processor):
    assert set(processor(text=[["dog"], ["car", "dog"]])) == {"input_ids", "attention_mask"}


def test_a_single_tower_promises_no_semantic_view(tokenizer, image):
    processor = SspSamProcessor(SspSamImageProcessor(size=64, semantic_size=None), tokenizer)
    assert set(processor(image, "dog")) == set(processor.model_input_names)


def test_tensors_come_as_numpy_when_asked(processor, image):
    output = processor(image, "dog", return_tensors="np")
    assert all(isinstance(value, np.ndarray) for value in output.values())


@pytest.mark.parametrize(
    ("n_images", "text", "n_text"), [(2, "dog", 1), (2, ["dog"], 1), (3, ["dog", "car"], 2), (1, [["dog"], ["car"]], 2)]
)
def test_counts_that_do_not_match_are_refused_with_both(processor, image, n_images, text, n_text):
    message = rf"one expression \(or list of expressions\) per image, got {n_text} for {n_images} images"
    with pytest.raises(ValueError, match=message):
        processor([image] * n_images, text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"text is empty, got ''; give an expression"),
        ("\u200b\ufeff", r"text is empty, got '.u200b.ufeff'"),
        (["dog", "a \udc80 cat"], r"text\[1\] is no valid Unicode: character 2 is '.udc80' in 'a .udc80 cat'"),
        ("\ud83d", r"text is no valid Unicode: character 0 is '.ud83d'"),
        ("dog " * 3000, r"text has 12000 characters; give an expression of at most 10000"),
        (["dog", " \n"], r"text\[1\] is empty, got ' \\n'"),
        ([["dog"], ["car", ""]], r"text\[1\]\[1\] is empty, got ''"),
        (["dog", None], r"expected a string as text\[1\], got None"),
        (7, "expected a string as text, got 7"),
        ([], r"expected at least one expression, got \[\]"),
    ],
)
def test_an_expression_that_says_nothing_is_refused_with_its_place(processor, image, text, message):
    with pytest.raises(ValueError, match=message):
        processor([image, image], text)


def test_neither_images_nor_text_is_refused(processor):
    with pytest.raises(ValueError, match="expected images, text or both, got neither"):
        processor()


# Tokens


def test_expressions_are_stripped_lower_cased_and_put_into_the_template(tokenizer, image):
    image_processor = SspSamImageProcessor(size=64)
    processor = SspSamProcessor(image_processor, tokenizer, expression_template="{}.")
    assert processor(text="  The RED \n car ").input_ids.tolist() == [[*RED_CAR[:-1], 12, 3]]
    assert SspSamProcessor(image_processor, tokenizer, lowercase=False).format_expression(" The  Car") == "The Car"


def test_braces_in_an_expression_are_ordinary_text(processor):
    assert processor.format_expression("a {0} b") == "a {0} b"


def test_a_template_without_a_place_is_refused(tokenizer):
    with pytest.raises(ValueError, match=r"must contain \{\} once, got 'a photo'"):
        SspSamProcessor(SspSamImageProcessor(), tokenizer, expression_template="a photo")


def test_a_long_expression_is_cut_off_with_a_warning_that_names_both_lengths(tokenizer, caplog):
    processor = SspSamProcessor(SspSamImageProcessor(), tokenizer, max_expression_length=6)
    output = processor(text=["dog", "the red car left of the blue dog"])
    assert output.input_ids.tolist() == [[2, 9, 3, 0, 0, 0], [2, 5, 6, 8, 10, 3]]
    assert "'the red car left of the blue dog'… has 10 tokens, more than 6; its end is cut off" in caplog.text
    assert "'dog'" not in caplog.text


def test_options_of_the_tokenizer_pass_through(processor, image):
    output = processor(image, "dog", padding="max_length", max_length=12, text_kwargs={"padding_side": "left"})
    assert output.input_ids.tolist() == [[0] * 9 + [2, 9, 3]]
    assert processor(image, "dog", return_token_type_ids=True).token_type_ids.tolist() == [[0, 0, 0]]


def test_options_of_the_image_processor_pass_through(processor, image):
    output = processor(image, "dog", do_rescale=True, rescale_factor=-1.0, images_kwargs={"do_normalize": False})
    assert output.pixel_values.max() <= 0 and output.pixel_values.min() < -200


def test_clip_in_the_paper_configuration_pads_with_zero_to_77(clip_tokenizer):
    config = SspSamConfig(text_config={"model_type": "clip_text_model"})
    processor = SspSamProcessor.from_model_config(config, clip_tokenizer)
    output = processor(text=["ab", "abc"])
    end = clip_tokenizer.eos_token_id
    assert output.input_ids.shape == (2, 77)
    assert output.input_ids[0, 4] == end  # start, a, b</w>, .</w>, end
    assert (output.input_ids[0, 5:] == 0).all() and (output.input_ids[0] == end).sum() == 1
    assert output.attention_mask.sum(1).tolist() == [5, 6]


# Clicks, boxes, masks


def test_points_are_scaled_like_transformers_sam_processor_and_padded(processor, image):
    reference = SamProcessor(SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64}))
    expected = reference(image, input_points=[[[10, 20], [50, 40]]], return_tensors="pt").input_points
    output = processor(image, ["dog", "car"], input_points=[[[10, 20], [50, 40]], [[5, 5]]], input_labels=[[1, 0], [1]])
    torch.testing.assert_close(output.input_points[0], expected[0].float())
    assert output.input_points.shape == (2, 1, 2, 2)
    assert output.input_points[1, 0, 1].tolist() == [-10, -10]
    assert output.input_labels.tolist() == [[[1, 0]], [[1, -10]]]


def test_an_expression_may_have_no_points_while_another_has(processor, image):
    output = processor([image, image], [["dog", "car"], ["dog"]], input_points=[[None, [5, 5]], None])
    assert output.input_labels.tolist() == [[[-10]], [[1]], [[-10]]]


def test_one_expression_takes_its_points_and_box_directly(processor, image):
    output = processor(image, "dog", input_points=[[25, 20]], input_boxes=[0, 0, 50, 40])
    torch.testing.assert_close(output.input_points, torch.tensor([[[[32.0, 25.5]]]]))  # 40 rows become 51
    torch.testing.assert_close(output.input_boxes, torch.tensor([[[0.0, 0.0, 64.0, 51.0]]]))


def test_mask_prompts_are_stacked_at_their_own_size(processor, image):
    output = processor(image, ["dog", "car"], input_masks=torch.ones(2, 1, 16, 16))
    assert output.input_masks.shape == (2, 1, 16, 16) and output.input_masks.dtype == torch.float32


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        (
            {"input_points": [[[51, 2]], None]},
            r"\(51, 2\), a point of expression 0, lies outside .* width 50 and height 40",
        ),
        ({"input_points": [[[1, float("nan")]], None]}, r"\(1, nan\), a point of expression 0, lies outside"),
        ({"input_points": [[1, 2, 3], None]}, r"points of expression 0 must be \[\[x, y\], …\] .*, got \[1, 2, 3\]"),
        ({"input_points": [[[1, 2]]]}, "input_points nested like text, which has 2 entries here, got 1"),
        (
            {"input_points": [[1, 2], [1, 2]], "input_labels": [[1, 0], [1]]},
            r"each of 1 points .* 0, got \[1",
        ),
        (
            {"input_points": [[1, 2], [1, 2]], "input_labels": [[1], [2]]},
            r"label 0 or 1 .* of expression 1, got",
        ),
        ({"input_labels": [[1], [1]]}, r"input_labels must come with input_points, got only \[\[1\], \[1\]\]"),
        ({"input_boxes": [[0, 0, 5, 5], None]}, r"input_boxes must be given for all expressions or for none, .* \[1\]"),
        ({"input_boxes": [[0, 0, 5, 5], [5, 0, 5, 5]]}, r"box of expression 1 must be .*, got \[5, 0, 5, 5\]"),
        ({"input_boxes": [[0, 0, 5, 5], [0, 0, 5, 41]]}, r"\(5, 41\), a box corner of expression 1, lies outside"),
        ({"input_masks": [np.ones((4, 4)), np.ones((5, 5))]}, r"of one size, .*, got \[\(4, 4\), \(5, 5\)\]"),
    ],
)
def test_prompts_that_do_not_fit_are_refused_with_their_values(processor, image, prompts, message):
    with pytest.raises(ValueError, match=message):
        processor(image, ["dog", "car"], **prompts)


def test_prompts_without_text_are_refused(processor, image):
    with pytest.raises(ValueError, match="input_boxes must come with images and text"):
        processor(image, input_boxes=[0, 0, 5, 5])


# Labels


def test_labels_are_nested_like_text(processor, image):
    full = np.ones((40, 50), bool)
    maps = [[full, None], [np.stack([full])[0]]]
    output = processor([image, image], [["dog", "car"], ["dog"]], segmentation_maps=maps)
    assert output.mask_labels.shape == (3, 32, 32)
    assert output.no_target_labels.tolist() == [0, 1, 0]


def test_arrays_of_maps_count_as_lists(processor, image):
    maps = [np.ones((2, 40, 50), bool), np.zeros((1, 40, 50), bool)]
    output = processor([image, image], [["dog", "car"], ["dog"]], segmentation_maps=maps)
    assert output.no_target_labels.tolist() == [0, 0, 1]


def test_too_few_maps_are_refused(processor, image):
    with pytest.raises(ValueError, match="segmentation_maps nested like text, which has 2 entries here, got 1"):
        processor(image, ["dog", "car"], segmentation_maps=[np.ones((40, 50))])


def test_a_generator_advances_from_call_to_call(processor, image):
    generator = torch.Generator().manual_seed(0)
    calls = [
        processor([image] * 8, ["dog"] * 8, random_semantic_offset=True, generator=generator).semantic_offsets
        for _ in range(2)
    ]
    assert not torch.equal(*calls)


# Files and construction


@pytest.mark.parametrize("semantic_size", [32, None])
def test_saving_and_loading_keeps_every_field(tokenizer, image, tmp_path, semantic_size):
    processor = SspSamProcessor(
        SspSamImageProcessor(size=64, semantic_size=semantic_size, mask_size=16),
        tokenizer,
        expression_template="{}.",
        expression_padding="max_length",
        max_expression_length=9,
        score_bias=0.25,
        min_mask_pixels=7,
    )
    processor(image, "what is cut off once is a matter of that call alone", max_length=6)
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert type(loaded) is SspSamProcessor and loaded.to_dict() == processor.to_dict()
    before, after = processor(image, "the red car"), loaded(image, "the red car")
    assert set(before) == set(after)
    for name in before:
        torch.testing.assert_close(after[name], before[name])


@pytest.mark.parametrize("preset", ["default", "single_tower"])
def test_a_model_configuration_gives_matching_sizes(tokenizer, preset):
    config = SspSamConfig(use_no_target_head=False) if preset == "default" else SspSamConfig(vision_config=None)
    processor = SspSamProcessor.from_model_config(config, tokenizer, expression_padding="longest")
    assert processor.image_processor.size == {"longest_edge": 1024}
    assert processor.image_processor.semantic_size == (224 if preset == "default" else None)
    assert processor.image_processor.mask_size == 512
    assert processor.max_expression_length == 512 and processor.expression_padding == "longest"
    assert processor.min_mask_pixels == (50 if preset == "default" else 0)


# ---- unknown words --------------------------------------------------------------------------------------------------


def test_unknown_words_come_once_as_written_and_without_punctuation(processor):
    assert processor.unknown_words("the red car") == []
    assert processor.unknown_words("The Zyzzyva, the Zyzzyva (the red qwertz)!") == ["Zyzzyva", "qwertz"]
    assert processor.unknown_words(" , ") == []


def test_a_word_that_is_spelled_letter_by_letter_is_unknown(clip_tokenizer):
    """This tokenizer has letters alone."""
    processor = SspSamProcessor(SspSamImageProcessor(), clip_tokenizer)
    assert processor.unknown_words("a zyzzyva on 2024 no") == ["zyzzyva"]
