# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Checks of what a caller hands to the model, each with one sentence that shows the value received.

Shapes: B images, E expressions, L words.
"""

import torch
from transformers.utils import TransformersKwargs

# (batch) rows, then SAM's (1 object per row), as in SamModel.
SPATIAL_PROMPT_SHAPES = {
    "input_points": (1, "points", 2),
    "input_labels": (1, "points"),
    "input_boxes": (1, 4),
}


class SspSamKwargs(TransformersKwargs, total=False):
    """
    Keyword arguments of `SspSamModel.forward` beside those in its signature.

    Args:
        input_labels (`torch.LongTensor` of shape `(E, 1, points)`, *optional*): 1 inside, 0 outside, -10 padding. Not
            in the signature, where transformers' `Trainer` takes each name with "label" for one it cannot do without.
    """

    input_labels: torch.LongTensor | None


def can_look(tensor: torch.Tensor) -> bool:
    """Whether there are values to look at: none on the meta device, or in a model compiled, exported or traced."""
    return tensor.numel() > 0 and not (tensor.is_meta or torch.compiler.is_compiling() or torch.jit.is_tracing())


def check_shape(name: str, tensor: torch.Tensor, expected: tuple[int | str, ...]):
    """
    Compares a tensor's shape with the one expected.

    Args:
        name (`str`): What the caller calls it.
        tensor (`torch.Tensor`): The tensor.
        expected (`tuple`): One entry per dimension: a size, or a word for a dimension of any size.

    Raises:
        ValueError: If number or size of the dimensions differ.
    """
    shape = tuple(tensor.shape)
    if len(shape) != len(expected) or any(
        isinstance(wanted, int) and size != wanted for size, wanted in zip(shape, expected)
    ):
        raise ValueError(f"expected {name} of shape ({', '.join(map(str, expected))}), got {shape}")


def check_expressions(input_ids: torch.Tensor | None, attention_mask: torch.Tensor | None, text_config):
    """
    Checks ids and mask of expressions.

    Args:
        input_ids (`torch.LongTensor` of shape `(E, L)`).
        attention_mask (`torch.Tensor` of shape `(E, L)`, *optional*).
        text_config (`PreTrainedConfig`): Of the text tower, for the words it knows and how many it can read.

    Raises:
        ValueError: If ids are missing, not whole numbers, not two-dimensional or unknown to the text tower (seen on the
            CPU alone, where looking costs nothing), have no or too many words, or do not fit the mask.
    """
    if input_ids is None:
        raise ValueError("expected input_ids (one row per expression), got None")
    check_shape("input_ids", input_ids, ("expressions", "words"))
    if input_ids.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"expected input_ids of whole numbers (torch.int64), got {input_ids.dtype}")
    longest = getattr(text_config, "max_position_embeddings", None)
    if input_ids.shape[1] == 0 or (longest is not None and longest > 0 and input_ids.shape[1] > longest):
        raise ValueError(f"expected 1 to {longest} words in each row of input_ids, got {input_ids.shape[1]}")
    if attention_mask is not None:
        check_shape("attention_mask", attention_mask, tuple(input_ids.shape))
    if input_ids.device.type == "cpu" and can_look(input_ids):
        low, high = input_ids.min().item(), input_ids.max().item()
        if low < 0 or high >= text_config.vocab_size:
            raise ValueError(
                f"expected input_ids between 0 and {text_config.vocab_size - 1}, got {low} to {high}; "
                "does the tokenizer belong to this model?"
            )


def check_full_length(input_ids: torch.Tensor, length: int):
    """
    Checks that expressions are padded to all positions of a text tower that reads the sentence at the last of them.

    Raises:
        ValueError: If `input_ids` of shape `(E, L)` have another L.
    """
    if input_ids.shape[1] != length:
        raise ValueError(
            f"expected input_ids padded to {length} positions, the last of which SigLIP reads the sentence at, "
            f"got {input_ids.shape[1]}; the processor of SspSamProcessor.from_model_config pads them"
        )


def check_image_index(
    image_index: torch.Tensor | None, num_expressions: int, num_images: int, device: torch.device
) -> torch.Tensor:
    """
    Returns which image each expression reads, after checking that it exists.

    Args:
        image_index (`torch.LongTensor` of shape `(E,)`, *optional*): One expression per image, in order, when `None`.
        num_expressions, num_images (`int`): E and B.
        device (`torch.device`): Where the result is needed.

    Raises:
        ValueError: If its shape, type or range does not fit, or it is missing where it is needed.
    """
    if image_index is None:
        if num_expressions != num_images:
            raise ValueError(
                f"expected one expression per image, got {num_expressions} expressions for {num_images} images; "
                "pass image_index to say which image each expression belongs to"
            )
        return torch.arange(num_images, device=device)
    image_index = torch.as_tensor(image_index)
    if image_index.shape != (num_expressions,):
        raise ValueError(
            f"expected image_index of shape ({num_expressions},), one entry per expression, "
            f"got {tuple(image_index.shape)}"
        )
    if image_index.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"expected image_index of whole numbers (torch.int64), got {image_index.dtype}")
    if can_look(image_index):
        low, high = image_index.min().item(), image_index.max().item()
        if low < 0 or high >= num_images:
            raise ValueError(f"expected image_index between 0 and {num_images - 1}, got {low} to {high}")
    return image_index.to(device)


def check_labels(
    num_expressions: int,
    mask_labels: torch.Tensor | None,
    box_labels: torch.Tensor | None,
    no_target_labels: torch.Tensor | None,
):
    """
    Checks what the losses compare with: one row per expression.

    Args:
        num_expressions (`int`): E.
        mask_labels (`torch.Tensor` of shape `(E, side, side)` or `(E, 1, side, side)`, *optional*).
        box_labels (`torch.Tensor` of shape `(E, 4)`, *optional*).
        no_target_labels (`torch.Tensor` of shape `(E,)`, *optional*).

    Raises:
        ValueError: If one of them has another shape.
    """
    if mask_labels is not None:
        side = mask_labels.shape[-1] if mask_labels.dim() > 0 else "side"
        one_mask = (1,) if mask_labels.dim() == 4 else ()
        check_shape("mask_labels", mask_labels, (num_expressions, *one_mask, side, side))
    if box_labels is not None:
        check_shape("box_labels", box_labels, (num_expressions, 4))
    if no_target_labels is not None:
        check_shape("no_target_labels", no_target_labels, (num_expressions,))


def check_spatial_prompts(num_expressions: int, mask_input_size: tuple[int, int], **prompts: torch.Tensor | None):
    """
    Checks clicks, boxes and low-resolution masks: one row per expression, one object per row.

    Args:
        num_expressions (`int`): E.
        mask_input_size (`tuple[int, int]`): Height and width that SAM's prompt encoder expects of masks.
        prompts: `input_points`, `input_labels`, `input_boxes`, `input_masks`, each a tensor or `None`.

    Raises:
        ValueError: If one of them has another shape, or labels come without points.
    """
    for name, value in prompts.items():
        if value is not None:
            check_shape(name, value, (num_expressions, *SPATIAL_PROMPT_SHAPES.get(name, (1, *mask_input_size))))
    points, labels = prompts.get("input_points"), prompts.get("input_labels")
    if labels is not None:
        if points is None:
            raise ValueError(f"expected input_points beside input_labels of shape {tuple(labels.shape)}, got None")
        check_shape("input_labels", labels, tuple(points.shape[:3]))
