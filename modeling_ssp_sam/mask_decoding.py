# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""From prompts to masks: clicks, boxes and language prompts side by side in SAM's mask decoder.

Shapes: E expressions, P language prompts, d prompt size.
"""

import torch
from transformers import SamHQModel, SamModel

from .model_inputs import check_spatial_prompts


def decode_masks(
    sam: SamModel | SamHQModel,
    image_embeddings: torch.Tensor,
    prompts: torch.Tensor,
    *,
    intermediate_embeddings: torch.Tensor | None = None,
    input_points: torch.Tensor | None = None,
    input_labels: torch.Tensor | None = None,
    input_boxes: torch.Tensor | None = None,
    input_masks: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Runs SAM's mask decoder on language prompts; clicks and boxes, if any, stand before them.

    Args:
        sam (`SamModel` or `SamHQModel`): The segmenter.
        image_embeddings (`torch.Tensor` of shape `(E, d, height, width)`): One per expression.
        prompts (`torch.Tensor` of shape `(E, P, d)`): Language prompts.
        intermediate_embeddings (`torch.Tensor` of shape `(E, height, width, SAM's hidden size)`, *optional*): For
            SAM-HQ, as in [`SspSamImageFeatures`].
        input_points, input_labels, input_boxes, input_masks: As in `SspSamModel.forward`.

    Returns:
        `tuple`: mask logits `(E, 1, h, w)` and IoU estimates `(E, 1)`.

    Raises:
        ValueError: If a spatial prompt does not have one row per expression, or has another shape.
    """
    num_expressions = prompts.shape[0]
    check_spatial_prompts(
        num_expressions,
        tuple(4 * side for side in image_embeddings.shape[-2:]),
        input_points=input_points,
        input_labels=input_labels,
        input_boxes=input_boxes,
        input_masks=input_masks,
    )
    if input_points is not None and input_labels is None:
        input_labels = torch.ones_like(input_points[..., 0], dtype=torch.int)
    if input_masks is not None:
        input_masks = input_masks.to(prompts.dtype)
    sparse, dense = sam.prompt_encoder(
        input_points=input_points, input_labels=input_labels, input_boxes=input_boxes, input_masks=input_masks
    )
    prompts = prompts.unsqueeze(1)  # (E, 1, P, d)
    if sparse is not None:
        prompts = torch.cat([sparse.to(prompts.dtype), prompts], dim=2)
    # SAM-HQ adds its refined mask to SAM's own, as it does by default.
    refinement = {"hq_token_only": False, "intermediate_embeddings": [intermediate_embeddings]}
    masks, iou_scores = sam.mask_decoder(
        image_embeddings=image_embeddings,
        image_positional_embeddings=sam.get_image_wide_positional_embeddings().expand(num_expressions, -1, -1, -1),
        sparse_prompt_embeddings=prompts,
        dense_prompt_embeddings=dense.to(prompts.dtype),
        multimask_output=False,
        **({} if intermediate_embeddings is None else refinement),
    )
    return masks.squeeze(1), iou_scores.squeeze(1)
