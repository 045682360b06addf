# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What the model returns: image features, text features, and the result for each expression.

Shapes: B images, E expressions, N = g * g patches, L words, C projection channels, d prompt size.
"""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class SspSamImageFeatures(ModelOutput):
    """
    What depends on the image alone, so that many expressions can share it.

    Args:
        image_embeddings (`torch.Tensor` of shape `(B, d, height, width)`): SAM's image embeddings.
        patch_features (`torch.Tensor` of shape `(B, N, C)`): Semantic patches, normalised over tokens.
        last_hidden_state (`torch.Tensor` of shape `(B, 1 + N, hidden)`): The semantic tower's tokens after its final
            norm, CLIP's class token first; `(B, N, hidden)` of SigLIP. SAM's image embeddings in the single-tower
            model.
        pooler_output (`torch.Tensor` of shape `(B, C)`, *optional*): The projected class token, if there is one.
        hidden_states, attentions (`tuple[torch.Tensor]`, *optional*): Of the semantic tower; of SAM's image encoder in
            the single-tower model.
        intermediate_embeddings (`torch.Tensor` of shape `(B, height, width, SAM's hidden size)`, *optional*): What
            SAM-HQ's mask decoder reads beside the image embeddings: its image encoder's first global layer.
    """

    image_embeddings: torch.Tensor | None = None
    patch_features: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
    intermediate_embeddings: torch.Tensor | None = None


@dataclass
class SspSamTextFeatures(ModelOutput):
    """
    What depends on the expressions alone.

    Args:
        last_hidden_state (`torch.Tensor` of shape `(E, L, text size)`): Word states.
        pooler_output (`torch.Tensor` of shape `(E, C)`): Sentence vectors of unit length.
        word_mask (`torch.Tensor` of shape `(E, L)`): 1 for words, 0 for padding.
        hidden_states, attentions (`tuple[torch.Tensor]`, *optional*): Of the text tower, which reads the words of each
            expression before its padding.
    """

    last_hidden_state: torch.Tensor | None = None
    pooler_output: torch.Tensor | None = None
    word_mask: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


@dataclass
class SspSamOutput(ModelOutput):
    """
    Output of [`SspSamModel`]; one row per expression.

    Args:
        loss (`torch.Tensor`, *optional*): Weighted sum of the losses, when labels are given.
        pred_masks (`torch.Tensor` of shape `(E, 1, h, w)`): Low-resolution mask logits, as [`SamModel`] gives them.
        pred_boxes (`torch.Tensor` of shape `(E, 4)`): cxcywh in [0, 1] of the semantic canvas (of SAM's canvas in the
            single-tower model).
        iou_scores (`torch.Tensor` of shape `(E, 1)`): SAM's own estimate of the mask's quality. SSP-SAM does not train
            it.
        no_target_logits (`torch.Tensor` of shape `(E,)`): Logit of "nothing in the image is meant", or `None`.
        loss_dict (`dict[str, torch.Tensor]`, *optional*): The unweighted losses by name.
        similarity_map (`torch.Tensor` of shape `(E, g, g)`, *optional*): Patch-sentence similarity in [0, 1].
        word_attention (`torch.Tensor` of shape `(E, L)`, *optional*): Weight of every token; sums to 1.
        verification_map (`torch.Tensor` of shape `(E, g, g)`, *optional*): Verification score of every patch.
        hidden_states, attentions (`tuple[torch.Tensor]`, *optional*): Of the prompt generator's layers, in the last of
            them for the tokens that are read: the reg token and the prompt tokens.
    """

    loss: torch.Tensor | None = None
    pred_masks: torch.Tensor | None = None
    pred_boxes: torch.Tensor | None = None
    iou_scores: torch.Tensor | None = None
    no_target_logits: torch.Tensor | None = None
    loss_dict: dict[str, torch.Tensor] | None = None
    similarity_map: torch.Tensor | None = None
    word_attention: torch.Tensor | None = None
    verification_map: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None
