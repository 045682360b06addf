# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The original code's tensors at small size, and this model brought to the same size and weights.

`fixtures/golden_small.*` holds the main model, `fixtures/golden_ablations.*` the rows of the ablation; a tensor that
equals one of another file is stored once. Names of tensors and weights are the original's.
"""

import copy
import json
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file

from ssp_sam import SspSamConfig, SspSamModel
from ssp_sam.modeling_ssp_sam.conversion.weight_map import ORIGINAL_RULES, rename_weights
from ssp_sam.modeling_ssp_sam.losses import resize_mask_logits
from ssp_sam.modeling_ssp_sam.semantic_encoder import normalise_over_tokens
from tests.helpers.golden_weights import made_once, make_weights, seeded

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
GOLDEN = json.loads((FIXTURES / "golden_small.json").read_text("utf-8"))
ABLATIONS = json.loads((FIXTURES / "golden_ablations.json").read_text("utf-8"))

# The sizes of the golden checkpoints.
SMALL_SIZES = {
    "sam_config": {
        "vision_config": {
            "hidden_size": 32,
            "mlp_dim": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 128,
            "output_channels": 32,
            "num_pos_feats": 16,
            "window_size": 3,
            "global_attn_indexes": [1],
        },
        "prompt_encoder_config": {"hidden_size": 32, "image_size": 128},
        "mask_decoder_config": {
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": 32,
        },
    },
    "vision_config": {
        "hidden_size": 128,
        "intermediate_size": 512,
        "projection_dim": 64,
        "num_hidden_layers": 8,
        "num_attention_heads": 2,
        "image_size": 112,
    },
    "text_config": {
        "vocab_size": 200,
        "bos_token_id": 198,
        "eos_token_id": 199,
        "hidden_size": 64,
        "intermediate_size": 256,
        "projection_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
    },
    "adapter_dim": 64,
    "verification_attention_heads": 4,
    "num_prompt_tokens": 8,
    "num_fusion_layers": 2,
    "fusion_attention_heads": 4,
    "fusion_intermediate_size": 64,
}

# Where the row on SigLIP 2 has other sizes.
SIGLIP_SIZES = {
    "vision_config": {
        "hidden_size": 96,
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 112,
    },
    "text_config": {
        "vocab_size": 200,
        "hidden_size": 96,
        "intermediate_size": 160,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
    },
    "projection_dim": 96,
}


@cache
def golden_tensors() -> dict[str, torch.Tensor]:
    """Inputs, intermediate values, outputs, losses and gradients of the main model."""
    tensors = load_file(FIXTURES / "golden_small.safetensors")
    for name, side in (("input.image", 112), ("input.sam_pixel_values", 128)):
        noise = seeded(name, (3, 3, side, side))
        tensors[name] = torch.zeros_like(noise)
        for row, (top, bottom, left, right) in enumerate(GOLDEN["image_regions"][name]):
            tensors[name][row, :, top:bottom, left:right] = noise[row, :, top:bottom, left:right]
    return tensors


@cache
def ablation_tensors(name: str) -> dict[str, torch.Tensor]:
    """Intermediate values and outputs of one row of the ablation."""
    stored, main = _stored_ablations(), golden_tensors()
    tensors = {key.removeprefix(f"{name}/"): value for key, value in stored.items() if key.startswith(f"{name}/")}
    for key, same_as in ABLATIONS[name]["equal_tensors"].items():  # equal to one of another file, or of its own
        tensors[key] = stored[same_as] if same_as in stored else main[same_as]
    return tensors


@cache
def _stored_ablations() -> dict[str, torch.Tensor]:
    return load_file(FIXTURES / "golden_ablations.safetensors")


def weight_shapes(name: str = "paper_b16", after_first_forward: bool = False) -> dict[str, list[int]]:
    """Names and shapes of the original checkpoint of a preset."""
    if name == "paper_b16":
        return GOLDEN["weights_after_first_forward" if after_first_forward else "weights_before_first_forward"]
    shapes = {**GOLDEN["weights_before_first_forward"], **ABLATIONS[name]["extra_weights"]}
    return {key: shape for key, shape in shapes.items() if key not in ABLATIONS[name]["missing_weights"]}


@made_once
def original_weights(name: str = "paper_b16", after_first_forward: bool = False) -> dict[str, torch.Tensor]:
    """The golden checkpoint of a preset, in the original's layout."""
    return make_weights(weight_shapes(name, after_first_forward), GOLDEN["num_vision_layers"])


def golden_model(name: str = "paper_b16", after_first_forward: bool = False) -> SspSamModel:
    """The model of a preset at golden size, with the golden weights, in eval mode; one of the caller's own."""
    return copy.deepcopy(_golden_model(name, after_first_forward))


@cache
def _golden_model(name: str, after_first_forward: bool) -> SspSamModel:
    model = SspSamModel(SspSamConfig.from_preset(name, **golden_sizes(name))).eval()
    weights = rename_weights(original_weights(name, after_first_forward), ORIGINAL_RULES, "golden weights")
    missing = set(model.load_state_dict(weights, strict=False).missing_keys)
    assert missing == set(model.all_tied_weights_keys)
    return model


def golden_sizes(name: str) -> dict:
    """Fields of the configuration of a preset at golden size."""
    return {**SMALL_SIZES, **(SIGLIP_SIZES if name == "siglip2" else {})}


def golden_inputs(name: str = "paper_b16") -> dict[str, torch.Tensor]:
    """The images and expressions of a golden file; the images are those of the main model in all of them."""
    tensors = golden_tensors()
    expressions = ablation_tensors(name) if name == "siglip2" else tensors
    return {
        "pixel_values": tensors["input.sam_pixel_values"],
        "semantic_pixel_values": tensors["input.image"],
        "input_ids": expressions["input.input_ids"],
    }


def run_with_insides(model: SspSamModel, **inputs) -> tuple[dict[str, torch.Tensor], object]:
    """Runs a model and returns its intermediate values by the names of the golden files, and its output."""
    found, hooks = {}, []

    def record(key, module, pick=lambda arguments, result: result):
        def hook(module, arguments, result):
            found[key] = pick(arguments, result)

        hooks.append(module.register_forward_hook(hook))

    generator, decoder = model.prompt_generator, model.sam.mask_decoder
    record("input.sam_image_embedding", model.sam.vision_encoder, lambda _, out: out.last_hidden_state)
    if model.config.uses_siglip_vision:
        vision, text = model.vision_model, model.text_model
        record("inter.vision_last_hidden_state", vision.post_layernorm)
        record("inter.vision_raw", model.patch_projection)
        record("inter.text_pooled", text.head)
        record("sentence", model.sentence_projection)
    else:
        vision, text = model.vision_model.vision_model, model.text_model.text_model
        record("inter.vision_raw", model.vision_model.visual_projection)
        record("sentence", model.text_model.text_projection)
    for index, layer in enumerate(vision.encoder.layers):
        record(f"vision_block_{index}", layer)
    record("vision_streams", vision.post_layernorm, lambda args, _: args[0])
    record("inter.word_token_embedding", text.final_layer_norm)
    record("inter.img_query", model.visual_adapter)
    record("inter.x_multi_modal", model.fusion)
    record("inter.fuse_img_feat", model.fusion, lambda args, _: _verified(model, *args))
    record("inter.vl_output", generator.norm, lambda args, _: args[0])
    record("inter.vl_output_norm", generator.norm)
    record("inter.bbox_token", generator, lambda _, out: out[0])
    record("inter.multi_prompt", generator, lambda _, out: out[1])
    record("out.upscaled_embedding", decoder.activation, lambda _, out: _as_map(out) if out.dim() == 5 else None)
    if hasattr(model, "word_projection"):
        record("inter.clip_text_embed", model.word_projection)
    if hasattr(model, "linguistic_adapter"):
        record("inter.weighted_emb", model.linguistic_adapter, lambda _, out: out[0])
        record("inter.gru_output", model.linguistic_adapter.word_score, lambda args, _: args[0])
    if hasattr(model, "verification"):
        record("inter.text_info", model.verification.word_attention, lambda _, out: out[0])
        record("inter.img_embed", model.verification.image_projection)
        record("inter.text_embed", model.verification.text_projection)
    output = model(**inputs, output_attentions=True)
    for hook in hooks:
        hook.remove()

    found["inter.image_features"] = normalise_over_tokens(found["inter.vision_raw"])
    found["inter.class_embeddings"] = torch.nn.functional.normalize(found["sentence"], dim=-1)
    found["inter.similarity"] = found["inter.image_features"] @ found["inter.class_embeddings"].unsqueeze(-1)
    found["inter.sam_dense_pe"] = model.sam.get_image_wide_positional_embeddings()
    found["inter.low_res_masks"], found["inter.iou_predictions"] = output.pred_masks, output.iou_scores
    found["out.low_res_masks"] = output.pred_masks
    found["out.pred_masks"] = at_loss_size(output.pred_masks)
    found["out.pred_boxes"] = output.pred_boxes
    found["inter.similarity_map"] = output.similarity_map
    found["inter.phrase_attention"] = output.word_attention
    found["inter.verify_score"] = output.verification_map
    return {key: value for key, value in found.items() if value is not None}, output


def _as_map(states: torch.Tensor) -> torch.Tensor:
    """Pixels by patch, half and quarter of a patch, `(E, N, 4, 4, C)`, as a map `(E, C, height, width)`."""
    side = round(states.shape[1] ** 0.5)
    pixels = states.view(len(states), side, side, 2, 2, 2, 2, -1).permute(0, 7, 1, 3, 5, 2, 4, 6)
    return pixels.reshape(len(states), -1, 4 * side, 4 * side)


def at_loss_size(mask_logits: torch.Tensor) -> torch.Tensor:
    """Mask logits by way of SAM's canvas of 128 to the 64 x 64 of the losses."""
    return resize_mask_logits(mask_logits, 128, 64)


def _verified(model: SspSamModel, patches, verification, _sentence) -> torch.Tensor:
    patches = patches if model.fusion.patch_norm is None else model.fusion.patch_norm(patches)
    return patches if verification is None else patches * verification


def original_gradients(model: SspSamModel, name: str = "paper_b16") -> dict[str, torch.Tensor | None]:
    """A model's gradients by the original's names and shapes; `None` for weights that get none."""
    parameters, gradients = dict(model.named_parameters()), {}
    for key, shape in weight_shapes(name).items():
        numbers = torch.arange(torch.Size(shape).numel()).reshape(shape)  # where each entry lands in this model
        gradient = torch.zeros(shape)
        parts = rename_weights({key: numbers}, ORIGINAL_RULES, "golden weights")
        for ours, part in parts.items():
            if ours not in parameters or parameters[ours].grad is None:
                gradient = None
                break
            gradient.view(-1)[part.reshape(-1)] = parameters[ours].grad.reshape(-1)
        gradients[key] = gradient if parts else None
    return gradients
