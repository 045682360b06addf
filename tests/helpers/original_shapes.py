# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Names and shapes of the original's checkpoints at any size, written from its layout."""

from dataclasses import dataclass


@dataclass
class CheckpointSizes:
    """The sizes of a checkpoint; those of the paper's B/16 model with SAM ViT-H when not given."""

    patch: int = 16
    grid: int = 14
    vision_width: int = 768
    vision_layers: int = 12
    projection: int = 512
    text_width: int = 512
    text_layers: int = 12
    vocabulary: int = 49408
    adapter: int = 512
    prompt: int = 256
    prompt_tokens: int = 128
    fusion_layers: int = 6
    fusion_hidden: int = 2048
    sam_width: int = 1280
    sam_layers: int = 32
    sam_heads: int = 16
    sam_grid: int = 64
    sam_window: int = 14
    sam_global: tuple[int, ...] = (7, 15, 23, 31)
    decoder_hidden: int = 2048


FULL_SIZES = {
    "paper_b16": CheckpointSizes(),
    "paper_l14_336": CheckpointSizes(
        patch=14, grid=24, vision_width=1024, vision_layers=24, projection=768, text_width=768
    ),
}


def checkpoint_shapes(sizes: CheckpointSizes) -> dict[str, list[int]]:
    """Names and shapes before the first forward, in no order."""
    shapes: dict[str, list[int]] = {}
    _add_clip(shapes, sizes)
    _add_adapters(shapes, sizes)
    _add_sam_encoders(shapes, sizes)
    _add_sam_decoder(shapes, sizes)
    return shapes


def _linear(shapes, name: str, inputs: int, outputs: int):
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = [outputs, inputs], [outputs]


def _norm(shapes, name: str, width: int):
    shapes[f"{name}.weight"], shapes[f"{name}.bias"] = [width], [width]


def _packed_attention(shapes, name: str, width: int):
    shapes[f"{name}.in_proj_weight"], shapes[f"{name}.in_proj_bias"] = [3 * width, width], [3 * width]
    _linear(shapes, f"{name}.out_proj", width, width)


def _add_clip(shapes, sizes: CheckpointSizes):
    for tower, width, layers in (
        ("encoder.visual.transformer", sizes.vision_width, sizes.vision_layers),
        ("encoder.transformer", sizes.text_width, sizes.text_layers),
    ):
        for index in range(layers):
            block = f"{tower}.resblocks.{index}"
            _packed_attention(shapes, f"{block}.attn", width)
            _norm(shapes, f"{block}.ln_1", width)
            _norm(shapes, f"{block}.ln_2", width)
            _linear(shapes, f"{block}.mlp.c_fc", width, 4 * width)
            _linear(shapes, f"{block}.mlp.c_proj", 4 * width, width)
    shapes["encoder.visual.class_embedding"] = [sizes.vision_width]
    shapes["encoder.visual.conv1.weight"] = [sizes.vision_width, 3, sizes.patch, sizes.patch]
    shapes["encoder.visual.positional_embedding"] = [sizes.grid**2 + 1, sizes.vision_width]
    shapes["encoder.visual.proj"] = [sizes.vision_width, sizes.projection]
    shapes["encoder.positional_embedding"] = [77, sizes.text_width]
    shapes["encoder.token_embedding.weight"] = [sizes.vocabulary, sizes.text_width]
    shapes["encoder.text_projection"] = [sizes.text_width, sizes.projection]
    shapes["encoder.logit_scale"] = []
    _norm(shapes, "encoder.visual.ln_pre", sizes.vision_width)
    _norm(shapes, "encoder.visual.ln_post", sizes.vision_width)
    _norm(shapes, "encoder.ln_final", sizes.text_width)


def _add_adapters(shapes, sizes: CheckpointSizes):
    adapter, prompt = sizes.adapter, sizes.prompt
    _linear(shapes, "clip_proj", sizes.text_width, adapter)
    for direction in ("", "_reverse"):
        for kind in ("ih", "hh"):
            shapes[f"text_proj.weight_{kind}_l0{direction}"] = [3 * adapter, adapter]
            shapes[f"text_proj.bias_{kind}_l0{direction}"] = [3 * adapter]
    _linear(shapes, "phrase_attn.fc", 2 * adapter, 1)
    for index, inputs in enumerate((sizes.projection, adapter, adapter)):
        _linear(shapes, f"clip_img_proj.layers.{index}", inputs, adapter)
    _packed_attention(shapes, "img2text_attn", adapter)
    _linear(shapes, "img_proj.layers.0", adapter, adapter)
    _linear(shapes, "imgtext_proj.layers.0", adapter, adapter)
    shapes["tf_scale"] = shapes["tf_sigma"] = [1]
    _norm(shapes, "norm_img", adapter)
    _linear(shapes, "mlp", adapter, prompt)
    shapes["reg_token.weight"], shapes["prompt_token.weight"] = [1, prompt], [sizes.prompt_tokens, prompt]
    shapes["vl_pos_embed.weight"] = [1 + sizes.prompt_tokens + sizes.grid**2, prompt]
    for index in range(sizes.fusion_layers):
        layer = f"vl_transformer.encoder.layers.{index}"
        _packed_attention(shapes, f"{layer}.self_attn", prompt)
        _linear(shapes, f"{layer}.linear1", prompt, sizes.fusion_hidden)
        _linear(shapes, f"{layer}.linear2", sizes.fusion_hidden, prompt)
        _norm(shapes, f"{layer}.norm1", prompt)
        _norm(shapes, f"{layer}.norm2", prompt)
    _norm(shapes, "norm", prompt)
    for index, outputs in enumerate((prompt, prompt, 4)):
        _linear(shapes, f"bbox_embed.layers.{index}", prompt, outputs)
    # Built by the original, never read.
    _packed_attention(shapes, "img2img_attn", prompt)
    shapes["img2img_attn.pos_x"] = shapes["img2img_attn.pos_y"] = [4 * sizes.grid + 1, prompt // 2]
    _norm(shapes, "norm_text_cond_img", prompt)


def _add_sam_encoders(shapes, sizes: CheckpointSizes):
    width, prompt, grid = sizes.sam_width, sizes.prompt, sizes.sam_grid
    tower = "sam.image_encoder"
    shapes[f"{tower}.pos_embed"] = [1, grid, grid, width]
    shapes[f"{tower}.patch_embed.proj.weight"] = [width, 3, 16, 16]
    shapes[f"{tower}.patch_embed.proj.bias"] = [width]
    for index in range(sizes.sam_layers):
        block, side = f"{tower}.blocks.{index}", grid if index in sizes.sam_global else sizes.sam_window
        _linear(shapes, f"{block}.attn.qkv", width, 3 * width)
        _linear(shapes, f"{block}.attn.proj", width, width)
        for axis in "hw":
            shapes[f"{block}.attn.rel_pos_{axis}"] = [2 * side - 1, width // sizes.sam_heads]
        _norm(shapes, f"{block}.norm1", width)
        _norm(shapes, f"{block}.norm2", width)
        _linear(shapes, f"{block}.mlp.lin1", width, 4 * width)
        _linear(shapes, f"{block}.mlp.lin2", 4 * width, width)
    shapes[f"{tower}.neck.0.weight"], shapes[f"{tower}.neck.2.weight"] = [prompt, width, 1, 1], [prompt, prompt, 3, 3]
    _norm(shapes, f"{tower}.neck.1", prompt)
    _norm(shapes, f"{tower}.neck.3", prompt)

    tower = "sam.prompt_encoder"
    shapes[f"{tower}.pe_layer.positional_encoding_gaussian_matrix"] = [2, prompt // 2]
    for name in (*(f"point_embeddings.{index}" for index in range(4)), "not_a_point_embed", "no_mask_embed"):
        shapes[f"{tower}.{name}.weight"] = [1, prompt]
    for index, (outputs, inputs, side) in {0: (4, 1, 2), 3: (16, 4, 2), 6: (prompt, 16, 1)}.items():
        shapes[f"{tower}.mask_downscaling.{index}.weight"] = [outputs, inputs, side, side]
        shapes[f"{tower}.mask_downscaling.{index}.bias"] = [outputs]
    _norm(shapes, f"{tower}.mask_downscaling.1", 4)
    _norm(shapes, f"{tower}.mask_downscaling.4", 16)


def _add_sam_decoder(shapes, sizes: CheckpointSizes):
    width, decoder = sizes.prompt, "sam.mask_decoder"
    shapes[f"{decoder}.iou_token.weight"], shapes[f"{decoder}.mask_tokens.weight"] = [1, width], [4, width]
    attentions = [(f"{decoder}.transformer.final_attn_token_to_image", width // 2)]
    for index in range(2):
        layer = f"{decoder}.transformer.layers.{index}"
        attentions += [(f"{layer}.self_attn", width)]
        attentions += [(f"{layer}.cross_attn_{way}", width // 2) for way in ("token_to_image", "image_to_token")]
        for number in range(1, 5):
            _norm(shapes, f"{layer}.norm{number}", width)
        _linear(shapes, f"{layer}.mlp.lin1", width, sizes.decoder_hidden)
        _linear(shapes, f"{layer}.mlp.lin2", sizes.decoder_hidden, width)
    for attention, inner in attentions:
        for part in "qkv":
            _linear(shapes, f"{attention}.{part}_proj", width, inner)
        _linear(shapes, f"{attention}.out_proj", inner, width)
    _norm(shapes, f"{decoder}.transformer.norm_final_attn", width)
    for index, (inputs, outputs) in {0: (width, width // 4), 3: (width // 4, width // 8)}.items():
        shapes[f"{decoder}.output_upscaling.{index}.weight"] = [inputs, outputs, 2, 2]
        shapes[f"{decoder}.output_upscaling.{index}.bias"] = [outputs]
    _norm(shapes, f"{decoder}.output_upscaling.1", width // 4)
    heads = {f"output_hypernetworks_mlps.{index}": width // 8 for index in range(4)}
    for name, outputs in {**heads, "iou_prediction_head": 4}.items():
        for index, size in enumerate((width, width, outputs)):
            _linear(shapes, f"{decoder}.{name}.layers.{index}", width, size)


def after_first_forward(shapes: dict[str, list[int]], vision_layers: int) -> dict[str, list[int]]:
    """The names that the same weights have once the original has run: exchanged attention, and its aliases."""
    renamed = {}
    for name, shape in shapes.items():
        for index in range(vision_layers - 6, vision_layers):
            attention = f"encoder.visual.transformer.resblocks.{index}.attn."
            if name.startswith(attention):
                part = name.removeprefix(attention).replace("in_proj_", "qkv.").replace("out_proj.", "proj.")
                name = attention + part
                if index == vision_layers - 6:
                    renamed[f"encoder.visual.attn.{part}"] = shape
        renamed[name] = shape
    return renamed
