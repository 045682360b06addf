# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
The two training stages as modules: a batch goes in, a loss and its named parts come out.

Shapes: B images, P prompts per image, E expressions, S canvas side, s side of the low-resolution masks.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..modeling_ssp_sam.losses import dice_loss, focal_loss
from ..modeling_ssp_sam.model_outputs import SspSamImageFeatures
from .auxiliary_heads import ContrastHead, DenseHeads, ForegroundHeads

# SAM's own proportion of focal to dice loss (arXiv 2304.02643, appendix A), and the weight of its IoU estimate.
FOCAL_TO_DICE = 20.0
IOU_LOSS_WEIGHT = 1.0
DENSE_LABELS = ("region_fractions", "noun_ids", "colour_ids", "region_boxes")
# Heads of the referring objective alone; their saved weights keep these names as prefixes.
REFERRING_HEADS = ("foreground_heads", "contrast_head")
# The surgery of the semantic tower calls the norm and the attention of such a layer by themselves.
CALLED_IN_PARTS = {"CLIPEncoderLayer"}
REFERRING_INPUTS = (
    "input_ids", "attention_mask", "image_index", "mask_labels", "box_labels", "no_target_labels",
    "input_points", "input_labels", "input_boxes",
)  # fmt: skip


class Objective(nn.Module):
    """
    A model with the heads that only its training needs.

    Args:
        model: An `SspSamModel`.
        dense_heads: Heads of the per-patch classes, where the data has such labels.
    """

    model: Any

    def __init__(self, model: nn.Module, dense_heads: DenseHeads | None):
        super().__init__()
        self.model, self.dense_heads = model, dense_heads
        self.foreground_heads: ForegroundHeads | None = None
        self.contrast_head: ContrastHead | None = None

    @property
    def _no_split_modules(self) -> list[str]:
        """Names the layers that FSDP gathers as a whole: those that the model names, has, and calls as a whole."""
        present = {type(module).__name__ for module in self.model.modules()}
        return sorted(present.intersection(self.model._no_split_modules or ()) - CALLED_IN_PARTS)

    def load_head_state(self, state: dict[str, torch.Tensor]):
        """Loads the weights of the training-only heads; an earlier stage has fewer of them."""
        if self.dense_heads is not None:
            dense = {name: value for name, value in state.items() if name.partition(".")[0] not in REFERRING_HEADS}
            self.dense_heads.load_state_dict(dense, strict=False)
        for part in REFERRING_HEADS:
            saved = {name.removeprefix(f"{part}."): v for name, v in state.items() if name.startswith(f"{part}.")}
            head = getattr(self, part)
            if saved and head is not None:
                head.load_state_dict(saved)


class TowersObjective(Objective):
    """
    Trains SAM without language: masks from clicks and boxes, and classes per patch.

    Args:
        model: An `SspSamModel`, or anything with a `SamModel` as `.sam`.
        dense_heads: Heads of the per-patch classes.
    """

    def __init__(self, model: nn.Module, dense_heads: DenseHeads):
        super().__init__(model, dense_heads)
        self.model.requires_grad_(False)
        self.model.sam.requires_grad_(True)
        self.model.sam.prompt_encoder.mask_embed.requires_grad_(False)
        # SAM never learns its positional code.
        self.model.sam.shared_image_embedding.requires_grad_(False)

    def train(self, mode: bool = True):
        """Sets the mode; SAM trains as a whole here, whatever the model freezes later."""
        super().train(mode)
        self.model.sam.train(mode)
        return self

    def forward(self, batch: dict, dense_loss_weight: float = 1.0) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """
        Scores one batch of `TowerCollator`.

        Returns:
            The loss, and its parts detached: `dice`, `focal`, `iou_error`, `click_iou`, `box_iou` (mean overlap of
            masks from clicks and from boxes), and what `DenseHeads` returns.
        """
        embeddings = self.model.sam.vision_encoder(batch["pixel_values"]).last_hidden_state
        dense = self.dense_heads(embeddings, *(batch[name] for name in DENSE_LABELS))
        logits, iou_scores = self._masks_from_prompts(embeddings, batch)
        targets = batch["mask_labels"].flatten(0, 1).float().unsqueeze(1)  # (B * P, 1, S, S)
        targets = F.interpolate(targets, logits.shape[-2:], mode="area").squeeze(1)  # (B * P, s, s), soft edges
        terms = {"dice": dice_loss(logits, targets), "focal": focal_loss(logits, targets, alpha=0.25, gamma=2.0)}
        overlaps = mask_overlaps(logits.detach() > 0, targets > 0.5)
        terms["iou_error"] = F.mse_loss(iou_scores, overlaps)
        loss = terms["dice"] + FOCAL_TO_DICE * terms["focal"] + IOU_LOSS_WEIGHT * terms["iou_error"]
        loss = loss + dense_loss_weight * dense["dense"]
        by_box = batch["use_box"].flatten().float()
        terms["box_iou"] = (overlaps * by_box).sum() / by_box.sum().clamp(min=1)
        terms["click_iou"] = (overlaps * (1 - by_box)).sum() / (1 - by_box).sum().clamp(min=1)
        return loss, {name: value.detach() for name, value in (terms | dense).items()}

    def _masks_from_prompts(self, embeddings, batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Runs every prompt as a click or as a box; both give SAM two tokens. Returns (B * P, s, s) and (B * P,)."""
        encoder = self.model.sam.prompt_encoder
        labels = torch.ones(batch["input_points"].shape[:-1], dtype=torch.int64, device=embeddings.device)
        clicks, dense = encoder(batch["input_points"], labels, None, None)
        boxes, _ = encoder(None, None, batch["input_boxes"], None)
        sparse = torch.where(batch["use_box"][..., None, None], boxes, clicks)  # (B, P, 2, d)
        positions = self.model.sam.get_image_wide_positional_embeddings()
        masks, iou_scores = self.model.sam.mask_decoder(
            image_embeddings=embeddings,
            image_positional_embeddings=positions.expand(len(embeddings), -1, -1, -1),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=False,
        )
        return masks.flatten(0, 2), iou_scores.flatten()


class ReferringObjective(Objective):
    """
    Trains the whole model on expressions; per-patch labels and SAM's IoU estimate stay as auxiliary losses.

    Args:
        model: An `SspSamModel`.
        dense_heads: Heads of the per-patch classes, where the data has such labels.
        foreground_loss_weight: Weight of "this patch is meant", read from every layer of the prompt generator; 0 leaves
            it out.
        contrast_loss_weight: Weight of "which sentence of the batch is this patch's"; 0 leaves it out.
        boundary_loss_weight: Weight of the cross-entropy at points where the masks are least sure; 0 leaves it out.
        iou_loss_weight: Weight of SAM's estimate of the mask's quality, which the paper does not train.
        box_only: Whether the forward ends before SAM's mask decoder, as in the paper's first stage.

    Raises:
        ValueError: A weight of a per-patch loss is given for a model with a semantic tower of its own.
    """

    def __init__(
        self,
        model: nn.Module,
        dense_heads: DenseHeads | None,
        *,
        foreground_loss_weight: float = 0.0,
        contrast_loss_weight: float = 0.0,
        boundary_loss_weight: float = 0.0,
        iou_loss_weight: float = 0.0,
        box_only: bool = False,
    ):
        super().__init__(model, dense_heads)
        self.boundary_loss_weight = boundary_loss_weight
        self.box_only = box_only
        self.iou_loss_weight = iou_loss_weight
        self.foreground_loss_weight, self.contrast_loss_weight = foreground_loss_weight, contrast_loss_weight
        for name in ("foreground_loss_weight", "contrast_loss_weight"):
            if getattr(self, name) and model.vision_model is not None:
                raise ValueError(
                    f"{name} ({getattr(self, name)}) needs patches that lie as SAM's canvas does; this model's are "
                    f"those of a semantic tower of its own; set it to 0"
                )
        if foreground_loss_weight:
            self.foreground_heads = ForegroundHeads(model)
        if contrast_loss_weight:
            self.contrast_head = ContrastHead(model)
        # SAM never learns its positional code.
        self.model.sam.shared_image_embedding.requires_grad_(False)
        if box_only:
            self.model.sam.mask_decoder.requires_grad_(False)

    def forward(self, batch: dict, dense_loss_weight: float = 0.0, predict: bool = False):
        """
        Scores one batch of `ReferringCollator` or `ReferCollator`.

        Returns:
            The loss, and its parts detached: those of the model, of `ForegroundHeads` and of `DenseHeads`, `contrast`,
            `boundary`, `iou_error`. With `predict`, what `outputs` returns instead.
        """
        if predict:
            return self.outputs(batch)
        features = self._image_features(batch)
        inputs = {name: batch[name] for name in REFERRING_INPUTS if name in batch}
        if "mask_labels" in inputs:
            inputs["mask_labels"] = inputs["mask_labels"].float()
        predict_masks = batch.get("predict_masks", True) and not self.box_only
        outputs = self.model(image_features=features, predict_masks=predict_masks, **inputs)
        loss, terms = outputs.loss, dict(outputs.loss_dict)
        if self.foreground_heads is not None:
            patch_features = features.patch_features[batch["image_index"]]
            heads = self.foreground_heads(patch_features, inputs["mask_labels"], _mentioned(batch))
            loss = loss + self.foreground_loss_weight * torch.stack(list(heads.values())).sum()
            terms |= heads
        if self.contrast_head is not None:
            patch_features = features.patch_features[batch["image_index"]]
            words = (inputs["mask_labels"], batch["input_ids"], batch["image_index"])
            terms["contrast"] = self.contrast_head(patch_features, *words)
            loss = loss + self.contrast_loss_weight * terms["contrast"]
        if self.boundary_loss_weight and predict_masks:
            terms["boundary"] = boundary_loss(outputs.pred_masks.squeeze(1), inputs["mask_labels"])
            loss = loss + self.boundary_loss_weight * terms["boundary"]
        if self.iou_loss_weight and predict_masks:
            targets = F.interpolate(inputs["mask_labels"].unsqueeze(1), outputs.pred_masks.shape[-2:], mode="area")
            overlaps = mask_overlaps(outputs.pred_masks.detach().squeeze(1) > 0, targets.squeeze(1) > 0.5)
            terms["iou_error"] = F.mse_loss(outputs.iou_scores.squeeze(1), overlaps)
            loss = loss + self.iou_loss_weight * terms["iou_error"]
        if dense_loss_weight and self.dense_heads is not None:
            dense = self.dense_heads(features.image_embeddings, *(batch[name] for name in DENSE_LABELS))
            loss = loss + dense_loss_weight * dense["dense"]
            terms |= dense
        return loss, {name: value.detach() for name, value in terms.items()}

    def _image_features(self, batch: dict):
        if "patch_features" in batch:
            return SspSamImageFeatures(batch["image_embeddings"], batch["patch_features"])
        return self.model.get_image_features(
            batch.get("pixel_values"), batch.get("semantic_pixel_values"), batch.get("image_embeddings")
        )

    @torch.no_grad()
    def outputs(self, batch: dict):
        """Returns the model's output for a batch, without losses; with masks unless the batch says otherwise."""
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "image_index") if name in batch}
        features = self._image_features(batch)
        return self.model(image_features=features, predict_masks=batch.get("predict_masks", True), **inputs)


def _mentioned(batch: dict) -> torch.Tensor | None:
    """Returns the fraction of each of SAM's patches that fits one of an expression's noun phrases, (E, h, w)."""
    if "mentioned_regions" not in batch:
        return None
    fractions = batch["region_fractions"][batch["image_index"]]  # (E, O + 1, h, w)
    return torch.einsum("erhw,er->ehw", fractions, batch["mentioned_regions"])


def boundary_loss(logits: torch.Tensor, targets: torch.Tensor, num_points: int = 1024) -> torch.Tensor:
    """
    Cross-entropy at random points, three quarters of them the least sure of four times as many, which lie on outlines.

    Args:
        logits: (E, h, w), before the sigmoid.
        targets: (E, M, M), 0 or 1, at their own, finer resolution.
        num_points: Points of each mask.

    Returns:
        Mean over points and expressions.

    Source: PointRend (arXiv 1912.08193), as Mask2Former (arXiv 2112.01527) trains with it.
    """
    logits, points = logits.float().unsqueeze(1), torch.rand(len(logits), 1, 4 * num_points, 2, device=logits.device)
    points, at_edges = 2 * points - 1, {"padding_mode": "border", "align_corners": False}
    with torch.no_grad():
        sureness = F.grid_sample(logits, points, **at_edges).abs()[:, 0, 0]  # (E, 4 * num_points)
        chosen = sureness.topk(num_points * 3 // 4, largest=False).indices[:, None, :, None].expand(-1, -1, -1, 2)
        anywhere = points[:, :, : num_points - num_points * 3 // 4]
        points = torch.cat([points.gather(2, chosen), anywhere], dim=2)
        labels = F.grid_sample(targets.unsqueeze(1), points, **at_edges)
    return F.binary_cross_entropy_with_logits(F.grid_sample(logits, points, **at_edges), labels)


def mask_overlaps(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Returns the intersection over union of (N, h, w) bool masks, (N,); 1 where both are empty."""
    intersection = (predictions & targets).sum((1, 2)).float()
    union = (predictions | targets).sum((1, 2)).float()
    return torch.where(union > 0, intersection / union.clamp(min=1), torch.ones_like(union))
