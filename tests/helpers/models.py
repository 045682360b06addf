# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Tiny random models of the tower combinations, and inputs for them."""

import numpy as np
import torch
from PIL import Image
from transformers import (
    BertConfig,
    BertTokenizer,
    CLIPTextConfig,
    CLIPVisionConfig,
    SamConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
)

from ssp_sam import ReferringSegmentationPipeline, SspSamConfig, SspSamModel, SspSamProcessor

KINDS = ("default", "paper", "single tower", "siglip")
SIGLIP_LENGTH = 8  # words and padding that the tiny SigLIP text tower reads
SIZES = (
    "adapter_dim",
    "num_surgery_layers",
    "verification_attention_heads",
    "num_prompt_tokens",
    "num_fusion_layers",
    "fusion_attention_heads",
    "fusion_intermediate_size",
    "initializer_range",
)

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = (
    "a all and apple apples ball bird blue box car cat circle dog everything green house in left object of on red "
    "right square star the thing tree two unicorn yellow ,"
).split()


def make_tokenizer() -> BertTokenizer:
    """A word tokenizer of some forty words."""
    vocab = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *WORDS])}
    return BertTokenizer(vocab=vocab, model_max_length=32)


def make_config(single_tower: bool = True, **kwargs) -> SspSamConfig:
    """A configuration of some hundred thousand parameters: 32-pixel canvas, 16-wide layers, wide initial weights."""
    wide = {"initializer_range": 0.3}
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 4}
    sam = SamConfig(
        vision_config={
            **vision,
            **wide,
            "mlp_dim": 32,
            "output_channels": 16,
            "num_pos_feats": 8,
            "global_attn_indexes": [1],
            "window_size": 4,
        },
        prompt_encoder_config={
            "hidden_size": 16,
            "image_size": 32,
            "patch_size": 4,
            "image_embedding_size": 8,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
        **wide,
    )
    text = BertConfig(
        vocab_size=len(SPECIAL_TOKENS) + len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        **wide,
    )
    clip = CLIPVisionConfig(**{**vision, "patch_size": 8}, intermediate_size=32, projection_dim=16, **wide)
    sizes = {
        "adapter_dim": 16,
        "num_surgery_layers": 1,
        "verification_attention_heads": 2,
        "num_prompt_tokens": 4,
        "num_fusion_layers": 2,
        "fusion_attention_heads": 2,
        "fusion_intermediate_size": 32,
        "initializer_range": 0.3,
    }
    if single_tower:
        sizes.update(projection_dim=16, grid_size=4)
    return SspSamConfig(
        sam_config=sam, vision_config=None if single_tower else clip, text_config=text, **{**sizes, **kwargs}
    )


def make_pipeline(single_tower: bool = True, seed: int = 0, **kwargs) -> ReferringSegmentationPipeline:
    """A pipeline with random weights, which finds something for every expression."""
    torch.manual_seed(seed)
    config = make_config(single_tower, **kwargs)
    processor = SspSamProcessor.from_model_config(config, make_tokenizer())
    processor.no_target_threshold = 1.0
    return ReferringSegmentationPipeline(
        model=SspSamModel(config), processor=processor, task="referring-segmentation", device="cpu"
    )


def make_image(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """A picture of random pixels under a few plain rectangles."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    for _ in range(4):
        x, y = generator.integers(0, width), generator.integers(0, height)
        pixels[y : y + height // 2, x : x + width // 2] = generator.integers(0, 256, 3)
    return Image.fromarray(pixels)


def tiny_sizes() -> dict:
    """The configuration fields that no tower gives."""
    config = make_config()
    return {name: getattr(config, name) for name in SIZES}


def tiny_config(kind: str, **kwargs) -> SspSamConfig:
    """A configuration of one of `KINDS`; layers are wide at birth, so that outputs react to every input."""
    if kind == "siglip":
        return SspSamConfig(
            **{"gru_reads_padding": True, **siglip_towers(), **tiny_sizes(), "num_surgery_layers": 0, **kwargs}
        )
    if kind != "paper":
        return make_config(single_tower=kind == "single tower", **kwargs)
    towers = make_config(single_tower=False)
    text = CLIPTextConfig(
        vocab_size=34,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        projection_dim=16,
        eos_token_id=33,
        pad_token_id=0,
        initializer_factor=10.0,
    )
    fields = {"gru_reads_padding": True, "use_no_target_head": False, **tiny_sizes(), **kwargs}
    return SspSamConfig(sam_config=towers.sam_config, vision_config=towers.vision_config, text_config=text, **fields)


def siglip_towers() -> dict:
    """Configurations of SAM and of SigLIP's two towers, all with a size of their own."""
    layers = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    text = {"vocab_size": len(SPECIAL_TOKENS) + len(WORDS), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
    return {
        "sam_config": make_config().sam_config,
        "vision_config": SiglipVisionConfig(
            hidden_size=24, image_size=32, patch_size=8, vision_use_head=False, **layers
        ),
        "text_config": SiglipTextConfig(
            hidden_size=20, projection_size=12, max_position_embeddings=SIGLIP_LENGTH, **layers, **text
        ),
    }


def tiny_model(kind: str, seed: int = 0, **kwargs) -> SspSamModel:
    """A random model in eval mode."""
    torch.manual_seed(seed)
    return SspSamModel(tiny_config(kind, **kwargs)).eval()


def shallow_model(kind: str, seed: int = 0, **kwargs) -> SspSamModel:
    """A tiny random model with one layer of each kind, since tracing takes as long as there are layers."""
    config = tiny_config(kind, num_fusion_layers=1, **kwargs)
    for part in (config.sam_config.vision_config, config.sam_config.mask_decoder_config, config.text_config):
        part.num_hidden_layers = 1
    torch.manual_seed(seed)
    return SspSamModel(config).eval()


def tiny_inputs(kind: str, num_images: int = 3, num_words: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    """One expression per image, without padding; CLIP's end-of-text token stands last."""
    num_words = SIGLIP_LENGTH if kind == "siglip" else num_words
    generator = torch.Generator().manual_seed(seed)
    inputs = {"pixel_values": torch.randn(num_images, 3, 32, 32, generator=generator)}
    if kind != "single tower":
        inputs["semantic_pixel_values"] = torch.randn(num_images, 3, 32, 32, generator=generator)
    inputs["input_ids"] = torch.randint(5, 30, (num_images, num_words), generator=generator)
    if kind == "paper":
        inputs["input_ids"][:, -1] = 33
    inputs["attention_mask"] = torch.ones(num_images, num_words, dtype=torch.long)
    return inputs


def tiny_labels(num_expressions: int = 3, side: int = 16, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random masks, boxes and one expression without target."""
    generator = torch.Generator().manual_seed(seed)
    no_target = torch.zeros(num_expressions)
    no_target[-1] = 1
    return {
        "mask_labels": (torch.rand(num_expressions, side, side, generator=generator) > 0.5).float(),
        "box_labels": torch.rand(num_expressions, 4, generator=generator) * 0.4 + 0.3,
        "no_target_labels": no_target,
    }


def run(model: SspSamModel, **inputs):
    """A forward pass without gradients."""
    with torch.no_grad():
        return model(**inputs)
