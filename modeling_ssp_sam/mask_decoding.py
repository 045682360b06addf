# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""From prompts to masks: clicks, boxes and language prompts side by side in SAM's mask decoder.

Shapes: B images, E expressions, P language prompts, d prompt size.
"""

import torch
from transformers import SamHQModel, SamModel

from .mask_reading import can_read, read_masks
from .model_inputs import check_spatial_prompts


def decode_masks(
    sam: SamModel | SamHQModel,
    image_embeddings: torch.Tensor,
    prompts: torch.Tensor,
    image_index: torch.Tensor | None = None,
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
        image_embeddings (`torch.Tensor` of shape `(B, d, height, width)`): Images.
        prompts (`torch.Tensor` of shape `(E, P, d)`): Language prompts.
        image_index (`torch.LongTensor` of shape `(E,)`, *optional*): The image of each expression; one each if `None`.
        intermediate_embeddings (`torch.Tensor` of shape `(B, height, width, SAM's hidden size)`, *optional*): For
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
    positions = sam.get_image_wide_positional_embeddings()
    # A mask among the prompts changes the image for its expression alone.
    if input_masks is None and can_read(sam.mask_decoder, image_embeddings):
        images = image_embeddings + dense[:1].to(prompts.dtype)
        return read_masks(sam.mask_decoder, images, positions, prompts.squeeze(1), image_index)
    if image_index is not None:
        image_embeddings = image_embeddings[image_index]
        if intermediate_embeddings is not None:
            intermediate_embeddings = intermediate_embeddings[image_index]
    # SAM-HQ adds its refined mask to SAM's own, as it does by default.
    refinement = {"hq_token_only": False, "intermediate_embeddings": [intermediate_embeddings]}
    masks, iou_scores = sam.mask_decoder(
        image_embeddings=image_embeddings,
        image_positional_embeddings=positions.expand(num_expressions, -1, -1, -1),
        sparse_prompt_embeddings=prompts,
        dense_prompt_embeddings=dense.to(prompts.dtype),
        multimask_output=False,
        **({} if intermediate_embeddings is None else refinement),
    )
    return masks.squeeze(1), iou_scores.squeeze(1)
