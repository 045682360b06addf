# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The original's own code with random weights, where the variable SSP_SAM_ORIGINAL names a checkout of it."""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import packaging.version
import torch

CHECKOUT = os.environ.get("SSP_SAM_ORIGINAL")
# What it imports for images, plots and words, which no model computes with.
UNUSED = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "torchvision.ops")
UNUSED += ("torchvision.ops.boxes", "matplotlib", "matplotlib.pyplot", "ftfy", "regex", "pkg_resources")
# Of CLIP ViT-B/16: channels of the projection, image, layers, width, patch, words, vocabulary, width, heads, layers.
CLIP_B16 = (512, 224, 12, 768, 16, 77, 49408, 512, 8, 12)
VIT_H = {"embed_dim": 1280, "depth": 32, "num_heads": 16, "global_attn_indexes": [7, 15, 23, 31]}
LOSS_WEIGHTS = {"l1": 5, "giou": 2, "dice": 4, "focal": 4}


def original_model(pairs: int, device: str, **image_encoder) -> tuple[torch.nn.Module, Callable]:
    """
    Returns the original's model for images of 224 x 224, its towers frozen, and what runs it on random pairs.

    Args:
        pairs: Images, each with an expression. SAM's embeddings are given.
        device: Where it is to run.
        image_encoder: Fields of SAM's image encoder in place of ViT-H's.
    """
    sys.path += [str(Path(CHECKOUT) / "segment-anything"), CHECKOUT]
    for name in UNUSED:
        sys.modules.setdefault(name, MagicMock())
    sys.modules["pkg_resources"].packaging = packaging
    sys.modules["torchvision.ops.boxes"].box_area = lambda boxes: (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    clip, build_sam, model_file = map(import_module, ("clip", "segment_anything.build_sam", "models.ssp_sam_224"))
    # No checkpoints are read.
    surgery = import_module("clip.clip_surgery_model").CLIPSurgery(*CLIP_B16)
    fields = {f"encoder_{name}": value for name, value in (VIT_H | image_encoder).items()}
    clip.load = lambda *_, **__: (surgery, None)
    build_sam.sam_model_registry["vit_h_visual_prompt"] = lambda checkpoint: build_sam._build_sam_visual_prompt(
        **fields, checkpoint=None
    )
    with torch.device(device):
        model = model_file.SSP_SAM("", SimpleNamespace(is_pretrain=False)).to(device).eval()
        sizes = torch.full((pairs, 2), 224.0)
        images, expressions = torch.randn(pairs, 3, 224, 224), torch.randint(1, 40_000, (pairs, 77))
        embeddings = torch.randn(pairs, 256, 64, 64)
    for frozen in (model.encoder, model.sam.image_encoder, model.sam.prompt_encoder):
        frozen.requires_grad_(False)
    targets = {"size": sizes, "ratio": torch.ones_like(sizes), "orig_size": sizes}
    of_masks = model_file.SegCriterion(LOSS_WEIGHTS, "loss_masks")
    of_boxes = model_file.VGCriterion(LOSS_WEIGHTS, "loss_boxes", False)

    def run(mask_labels=None, box_labels=None, image_embeddings=embeddings):
        outputs = model(images, None, expressions, None, image_embeddings, sizes, targets)
        if mask_labels is None:
            return outputs
        terms = of_masks(outputs["pred_masks"], mask_labels[:, None]) | of_boxes(outputs, {"bbox": box_labels})
        return SimpleNamespace(loss=sum(LOSS_WEIGHTS[name] * term for name, term in terms.items()))

    return model, run
