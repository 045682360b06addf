# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Exports a model to ONNX: an image encoder, and a mask decoder that reads words and points beside them.

The graphs are the model's own forward. Two parts are replaced by ones of the same numbers that ONNX can express for
any number of words and points: the GRUs, and SAM's prompt encoder.

Shapes: B images, E expressions, L words, K points, N patches, C projection channels, d prompt size.
"""

import contextlib
import copy
import importlib.util
import logging
import os
import warnings
from pathlib import Path

import torch
from torch import nn

from ..modeling_ssp_sam.model_outputs import SspSamImageFeatures
from ..modeling_ssp_sam.modeling_ssp_sam import SspSamModel
from ..processing.processing_ssp_sam import SspSamProcessor
from ..training.atomic_files import claim_name, write_aside
from .standalone import write_standalone

# The first opset that torch exports to; every ONNX Runtime since 1.14 reads it.
OPSET = 18
COMPONENTS = ("image_encoder", "mask_decoder")
OUTPUTS = ("pred_masks", "iou_scores", "pred_boxes", "no_target_logits")
RUNTIME = Path(__file__).with_name("segment_onnx.py")
REQUIRED_PACKAGES = ("onnx", "onnxscript")
# Names of the dynamic dimensions of each input; sizes that stand under no name are fixed.
DIMENSIONS = {
    "pixel_values": {0: "images"},
    "semantic_pixel_values": {0: "images"},
    "image_embeddings": {0: "images"},
    "patch_features": {0: "images"},
    "image_index": {0: "expressions"},
    "input_ids": {0: "expressions", 1: "words"},
    "attention_mask": {0: "expressions", 1: "words"},
    "input_points": {0: "expressions", 2: "points"},
    "input_labels": {0: "expressions", 2: "points"},
}
# What the torch-free script does to images, whatever the settings say.
STANDARD_STEPS = ("do_resize", "do_rescale", "do_normalize", "do_pad")


class ImageEncoder(nn.Module):
    """Pixels on one or both canvases to `image_embeddings` (B, d, h, w) and `patch_features` (B, N, C)."""

    def __init__(self, model: SspSamModel):
        super().__init__()
        self.model = model
        self.config = model.config

    def forward(self, **pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.model.get_image_features(**pixels, return_dict=True)
        return {name: features[name] for name in ("image_embeddings", "patch_features")}


class MaskDecoder(nn.Module):
    """Image features and expressions to masks, boxes and no-target logits."""

    def __init__(self, model: SspSamModel):
        super().__init__()
        self.model = model
        self.config = model.config

    def forward(
        self, image_embeddings: torch.Tensor, patch_features: torch.Tensor, **inputs: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """
        Args:
            image_embeddings, patch_features (`torch.Tensor`): What [`ImageEncoder`] returns.
            inputs: `image_index` (E,), `input_ids` and `attention_mask` (E, L), `input_points` (E, 1, K, 2) and
                `input_labels` (E, 1, K), as [`PointPrompts`] reads them.

        Returns:
            `dict`: `pred_masks` (E, 1, h, w), `iou_scores` (E, 1) and, of the heads that there are, `pred_boxes` (E, 4)
            and `no_target_logits` (E,).
        """
        features = SspSamImageFeatures(image_embeddings=image_embeddings, patch_features=patch_features)
        outputs = self.model(image_features=features, return_dict=True, **inputs)
        return {name: outputs[name] for name in OUTPUTS if name in outputs}


class PointPrompts(nn.Module):
    """
    SAM's prompt encoder for one list of points, which may be empty.

    SAM has a way of its own for each combination of clicks and box. Here all of them are points whose labels say what
    they are: 0 outside, 1 inside, 2 and 3 the corners of a box, -1 the point that is none which SAM puts behind clicks
    without a box, -10 padding.
    """

    def __init__(self, prompt_encoder: nn.Module):
        super().__init__()
        self.prompt_encoder = prompt_encoder

    def forward(self, input_points, input_labels, input_boxes=None, input_masks=None):
        """Embeds `(E, 1, K, 2)` points, and no mask, into `(E, 1, K, d)` and `(E, d, h, w)`."""
        encoder = self.prompt_encoder
        points = encoder._embed_points(input_points, input_labels, pad=False)
        for label in (2, 3):
            corner = encoder.point_embed[label].weight
            points = torch.where((input_labels == label).unsqueeze(-1), points + corner, points)
        dense = encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        return points, dense.expand(input_points.shape[0], -1, *encoder.image_embedding_size)


class OnnxGru(nn.Module):
    """A GRU of one layer as ONNX's own operator; torch would unroll it over a fixed number of words. Float32 inside."""

    def __init__(self, gru: nn.Module):
        super().__init__()
        self.hidden_size = gru.hidden_size
        self.register_buffer("weight", self._update_gate_first(gru.weight_ih_l0).unsqueeze(0))
        self.register_buffer("recurrence", self._update_gate_first(gru.weight_hh_l0).unsqueeze(0))
        biases = [self._update_gate_first(bias) for bias in (gru.bias_ih_l0, gru.bias_hh_l0)]
        self.register_buffer("bias", torch.cat(biases).unsqueeze(0))

    def _update_gate_first(self, parameter: torch.Tensor) -> torch.Tensor:
        """Torch stacks reset, update and new gate; ONNX update, reset and new."""
        reset, update, new = parameter.detach().float().split(self.hidden_size)
        return torch.cat([update, reset, new])

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Reads `(E, L, hidden)` words; returns as many states."""
        sequence = words.float().transpose(0, 1)  # (L, E, hidden)
        states = torch.onnx.ops.symbolic(
            "GRU",
            [sequence, self.weight, self.recurrence, self.bias],
            {"hidden_size": self.hidden_size, "linear_before_reset": 1},
            dtype=torch.float32,
            shape=(sequence.shape[0], 1, sequence.shape[1], self.hidden_size),
        )
        return states.squeeze(1).transpose(0, 1).to(words.dtype)


def export_onnx(
    model: SspSamModel, processor: SspSamProcessor, folder: str | os.PathLike, dtype: torch.dtype = torch.float32
) -> Path:
    """
    Writes a folder that segments without torch: both graphs, the processor, and the script that runs them.

    Args:
        model ([`SspSamModel`]): Not changed; a copy is exported, in eval mode, from the CPU.
        processor ([`SspSamProcessor`]): Its processor, with a fast tokenizer.
        folder (`str` or `os.PathLike`): Made where missing; the files of an earlier export are replaced, all at once.
        dtype (`torch.dtype`): Of weights, images and outputs: `torch.float32`, or `torch.float16` for GPUs.

    Returns:
        `Path`: the folder, with `image_encoder.onnx`, `mask_decoder.onnx` and, beside each, its weights in a `.data`
        file; `export.json`, by which transformers' `ExportedModel.from_pretrained` loads both; `config.json` and the
        processor's files; `segment_onnx.py` and what it imports.

    Raises:
        ImportError: If a package that writes ONNX is missing.
        ValueError: If the processor does what the script cannot, the type is another, `folder` is a file or holds
            other files, or the segmenter is SAM-HQ, whose mask decoder reads more than the images' graph hands on.
        OSError: If the folder cannot be written; before anything is computed.
    """
    folder = Path(folder)
    if model.config.uses_sam_hq:
        raise ValueError("expected a model with SAM as its segmenter, got SAM-HQ, which is not exported to ONNX")
    _check(processor, folder, dtype)
    # Only now, since these need packages that not everybody has.
    from transformers.exporters import ExportedModel, ExportFormat

    with claim_name(folder):  # before the graphs are made, which takes long
        with _quiet():
            model = _exportable_copy(model, dtype)
            features, inputs = _sample_inputs(model)
            # SigLIP's text tower reads the sentence at the last of all its positions.
            fixed = ("words",) if model.config.uses_siglip_text else ()
            components = {
                "image_encoder": _export(ImageEncoder(model), inputs["image_encoder"]),
                "mask_decoder": _export(MaskDecoder(model), {**features, **inputs["mask_decoder"]}, fixed),
            }
            exported = ExportedModel(components, ExportFormat.ONNX, config=model.config)
        with write_aside(folder, keep_others=True) as new:
            with _quiet():
                exported.save_pretrained(new)
            processor.save_pretrained(new)
            write_standalone(RUNTIME, new / RUNTIME.name)
    return folder


def _check(processor: SspSamProcessor, folder: Path, dtype: torch.dtype):
    missing = [name for name in REQUIRED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"exporting to ONNX needs {' and '.join(missing)}; run: pip install 'ssp-sam[onnx]'")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"expected a folder to export to, got the file {str(folder)!r}")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "export.json").is_file():
        raise ValueError(f"{str(folder)!r} holds other files and is left alone; name a new folder")
    if dtype not in (torch.float32, torch.float16):
        raise ValueError(f"expected torch.float32 or torch.float16 to export in, got {dtype}")
    if not processor.tokenizer.is_fast:
        raise ValueError(
            f"expected a fast tokenizer, which the exported folder can hold, got {type(processor.tokenizer).__name__}"
        )
    images = processor.image_processor
    skipped = [name for name in STANDARD_STEPS if not getattr(images, name)]
    if skipped or len(images.image_mean) != 3:
        given = f"{' and '.join(skipped)} False" if skipped else f"an image_mean of {len(images.image_mean)} channels"
        raise ValueError(f"expected a processor that resizes, rescales, normalises and pads RGB images, got {given}")


def _exportable_copy(model: SspSamModel, dtype: torch.dtype) -> SspSamModel:
    """A copy on the CPU with the parts of this file in place of those that do not export."""
    model = copy.deepcopy(model).to(device="cpu", dtype=dtype).eval().requires_grad_(False)
    model.set_attn_implementation("eager")
    model.sam.prompt_encoder = PointPrompts(model.sam.prompt_encoder)
    if model.config.linguistic_adapter == "words":
        adapter = model.linguistic_adapter
        adapter.forward_gru, adapter.backward_gru = OnnxGru(adapter.forward_gru), OnnxGru(adapter.backward_gru)
    return model


def _sample_inputs(model: SspSamModel) -> tuple[dict[str, torch.Tensor], dict[str, dict[str, torch.Tensor]]]:
    """Inputs to trace with; dynamic sizes differ from each other and from 0 and 1, which torch would take as fixed."""
    config = model.config
    images, expressions, words, points = 2, 3, 5, 7
    words = config.text_config.max_position_embeddings if config.uses_siglip_text else words
    vision = config.sam_config.vision_config
    side, dtype = vision.image_size, model.dtype
    encoder = {"pixel_values": torch.zeros(images, vision.num_channels, side, side, dtype=dtype)}
    if config.vision_config is not None:
        semantic = config.vision_config
        size = (images, semantic.num_channels, semantic.image_size, semantic.image_size)
        encoder["semantic_pixel_values"] = torch.zeros(size, dtype=dtype)
    grid = side // vision.patch_size
    features = {
        "image_embeddings": torch.zeros(images, vision.output_channels, grid, grid, dtype=dtype),
        "patch_features": torch.zeros(images, config.grid_size**2, config.projection_dim, dtype=dtype),
    }
    decoder = {
        "image_index": torch.tensor([0, 1, 0]),
        "input_ids": torch.ones(expressions, words, dtype=torch.long),
        "attention_mask": torch.ones(expressions, words, dtype=torch.long),
        "input_points": torch.zeros(expressions, 1, points, 2, dtype=dtype),
        "input_labels": torch.ones(expressions, 1, points, dtype=torch.long),
    }
    return features, {"image_encoder": encoder, "mask_decoder": decoder}


def _export(module: nn.Module, inputs: dict[str, torch.Tensor], fixed: tuple[str, ...] = ()):
    """Exports one graph with the dynamic dimensions of `DIMENSIONS`, less those that are `fixed`."""
    from transformers.exporters import OnnxConfig, OnnxExporter

    free = {name: [axis for axis, word in DIMENSIONS[name].items() if word not in fixed] for name in inputs}
    dynamic = {name: dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for name, axes in free.items()}
    config = OnnxConfig(dynamic_shapes=dynamic, opset_version=OPSET)
    component = OnnxExporter().export(module, dict(inputs), config).components["model"]
    _name_dimensions(component.program)
    _forget_sources(component.program)
    return component


def _name_dimensions(program):
    """Gives the dynamic dimensions of the graph's inputs and outputs names that say what they count."""
    graph, names = program.graph, {}
    for value in graph.inputs:
        sizes = {str(value.shape[axis]): word for axis, word in DIMENSIONS[value.name].items()}
        names |= {size: word for size, word in sizes.items() if not size.isdecimal()}
    values = [*graph.inputs, *(output for node in graph for output in node.outputs)]
    for value in values:
        for axis, size in enumerate(value.shape or ()):
            if str(size) in names:
                value.shape[axis] = names[str(size)]


def _forget_sources(program):
    """Drops where in which file each node was traced: it says more of this machine than of the model."""
    program.metadata_props.clear()
    for node in program.graph.all_nodes():
        node.metadata_props.clear()
        for output in node.outputs:
            output.metadata_props.clear()


@contextlib.contextmanager
def _quiet():
    """Keeps the exporters from reporting each step and each operator that they know under another name."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


__all__ = ["export_onnx"]
