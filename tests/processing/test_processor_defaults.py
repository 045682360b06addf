# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Processors that fit their models: sizes, normalisation and padding by the configuration."""

import pytest
import torch

from ssp_sam import SspSamConfig, SspSamModel, SspSamProcessor
from tests.helpers.models import KINDS, SIGLIP_LENGTH, make_image, make_tokenizer, tiny_config


@pytest.mark.parametrize("kind", KINDS)
def test_a_processor_of_a_model_makes_what_the_model_takes(kind):
    config = tiny_config(kind)
    if kind == "paper":  # whose tokenizer is CLIP's
        config = SspSamConfig(**{**config.to_dict(), "text_config": {**config.text_config.to_dict(), "vocab_size": 60}})
    processor = SspSamProcessor.from_model_config(config, make_tokenizer())
    inputs = processor(images=make_image(), text=["the dog", "a red ball"], return_tensors="pt")
    inputs = {name: value for name, value in inputs.items() if not name.endswith("sizes")}
    with torch.no_grad():
        assert SspSamModel(config).eval()(**inputs).pred_masks.shape == (2, 1, 32, 32)


def test_siglip_gets_words_first_and_padding_of_id_0_up_to_its_length():
    tokenizer = make_tokenizer()
    tokenizer.padding_side, tokenizer.model_max_length = "left", 10**30
    processor = SspSamProcessor.from_model_config(tiny_config("siglip"), tokenizer)
    inputs = processor(text=["the dog"])
    words = inputs["attention_mask"][0].sum()
    assert inputs["input_ids"].shape == (1, SIGLIP_LENGTH) and 2 < words < SIGLIP_LENGTH
    assert inputs["attention_mask"][0].tolist() == [1] * words + [0] * (SIGLIP_LENGTH - words)
    assert (inputs["input_ids"][0, words:] == 0).all() and (inputs["input_ids"][0, :words] > 0).all()
    assert processor.image_processor.semantic_mean == [0.5, 0.5, 0.5]
    assert tokenizer.padding_side == "left"  # the caller's own is left alone


def test_a_siglip_whose_padding_is_another_id_keeps_that_of_the_tokenizer():
    config = tiny_config("siglip")
    config.text_config.pad_token_id = 1
    tokenizer = make_tokenizer()
    tokenizer.pad_token = "[SEP]"
    processor = SspSamProcessor.from_model_config(config, tokenizer)
    assert processor(text="dog")["input_ids"][0, -1] == tokenizer.sep_token_id != 0
