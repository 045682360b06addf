# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Words that the text tower can only spell: how they are found, and what adding them changes and leaves alone."""

import copy

import pytest
import torch

from ssp_sam import SspSamConfig, SspSamModel, SspSamProcessor
from ssp_sam.training.new_words import add_words, find_new_words, learn_words, words_of
from ssp_sam.training.scenes.tokenizer import build_word_tokenizer
from tests.helpers.models import make_config

KNOWN = ["the", "circle", "square", "red", "blue", "left", "of", "ball"]


@pytest.fixture
def spelling():
    """A model and a processor that know a few words and spell the others."""
    torch.manual_seed(0)
    tokenizer = build_word_tokenizer(KNOWN, max_length=32)
    config: SspSamConfig = make_config()
    config.text_config.vocab_size = len(tokenizer)
    return SspSamModel(config).eval(), SspSamProcessor.from_model_config(config, tokenizer)


def test_spelled_and_unknown_words_are_found_and_known_ones_are_not(spelling):
    _, processor = spelling
    training = ["The Striped circle, left!", "the striped café-ball 7", "the red square"]
    found = find_new_words(processor, training, ["the dotted ball", "the striped ball"])
    assert found.counts == {"striped": 2, "cafe": 1}
    assert found.num_expressions == (3, 2)
    assert found.untrained == ("dotted",)


def test_characters_without_spaces_between_them_are_words(spelling):
    _, processor = spelling
    assert list(find_new_words(processor, ["杯子"]).counts) == ["子", "杯"]


def test_words_of_several_longer_pieces_are_known(spelling):
    _, processor = spelling
    processor.tokenizer.add_tokens(["##room"])
    processor.tokenizer.add_tokens(["bath"])
    assert words_of(processor, "the bathroom") == ["the", "bathroom"]
    assert find_new_words(processor, ["the bathroom"]).counts == {}


def test_added_words_are_single_tokens_with_embeddings_of_their_own(spelling):
    model, processor = spelling
    before = model.get_input_embeddings().weight.detach().clone()
    add_words(model, processor, ["striped", "dotted", "checked"])
    tokens = processor.tokenizer.tokenize("the Striped circle, undotted dotted")
    assert tokens[:4] == ["the", "striped", "circle", ","] and tokens[-1] == "dotted" and "##n" in tokens
    after = model.get_input_embeddings().weight
    assert torch.equal(after[: len(before)], before)
    added = after[len(before) :]
    assert len(added) == 3 and model.config.text_config.vocab_size == len(processor.tokenizer) == len(after)
    assert torch.cdist(added, added).add(torch.eye(3)).min() > 0.1
    # Near the known words: nearer to their mean than these are.
    known = before[processor.tokenizer.convert_tokens_to_ids(KNOWN)]
    assert (added - known.mean(0)).norm(dim=1).max() < (known - known.mean(0)).norm(dim=1).mean()


def test_sentences_that_differ_in_an_added_word_differ_and_others_stay(spelling):
    model, processor = spelling

    def sentence(text):
        with torch.no_grad():
            return model.get_text_features(**processor(text=[text])).pooler_output

    known = sentence("the red circle")
    add_words(model, processor, ["striped", "dotted"])
    torch.testing.assert_close(sentence("the red circle"), known)
    assert (sentence("the striped circle") - sentence("the dotted circle")).abs().max() > 1e-3


def test_the_start_of_added_words_is_drawn_by_the_seed(spelling):
    model, _ = spelling
    rows = []
    for seed in (0, 0, 1):
        tokenizer = build_word_tokenizer(KNOWN, max_length=32)
        copied = copy.deepcopy(model)
        add_words(copied, SspSamProcessor.from_model_config(model.config, tokenizer), ["striped"], seed=seed)
        rows.append(copied.get_input_embeddings().weight[-1])
    assert torch.equal(rows[0], rows[1]) and not torch.equal(rows[0], rows[2])


def test_added_words_are_saved_with_the_model(spelling, tmp_path):
    model, processor = spelling
    add_words(model, processor, ["striped"])
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    opened, reader = SspSamModel.from_pretrained(tmp_path), SspSamProcessor.from_pretrained(tmp_path)
    assert reader.tokenizer.tokenize("the striped circle") == ["the", "striped", "circle"]
    assert torch.equal(opened.get_input_embeddings().weight, model.get_input_embeddings().weight)


@pytest.mark.parametrize(
    ("mode", "frozen", "said", "added"),
    [
        ("add", False, "each of them becomes a word of its own", True),
        ("spell", False, "they stay spelled letter by letter, as new_words is 'spell'", False),
        ("add", True, "they stay spelled letter by letter, as the text tower is frozen", False),
    ],
)
def test_what_is_done_about_new_words_is_said(spelling, mode, frozen, said, added):
    model, processor = spelling
    model.text_model.requires_grad_(not frozen)
    sentences = learn_words(model, processor, ["the striped ball", "the ball"], ["a zebra"], mode=mode, seed=0)
    assert sentences[0] == "new to the text tower: striped, in 1 of 2 training expressions"
    assert sentences[1].startswith(said)
    assert sentences[2] == "no training expression has zebra, which validation asks for"
    assert (processor.tokenizer.tokenize("striped") == ["striped"]) is added


def test_nothing_is_said_where_every_word_is_known(spelling):
    model, processor = spelling
    vocabulary = len(processor.tokenizer)
    assert learn_words(model, processor, ["the red ball"], ["the blue ball"], mode="add", seed=0) == []
    assert len(processor.tokenizer) == vocabulary


def test_a_long_list_is_cut(spelling):
    model, processor = spelling
    words = [f"{letter}{letter}x" for letter in "abcdefghijklmnopqr"]
    said = learn_words(model, processor, [" ".join(words)], [], mode="spell", seed=0)[0]
    assert "aax, bbx" in said and "and 6 more words" in said and "rrx" not in said
