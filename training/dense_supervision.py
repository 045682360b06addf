# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Per-patch classes as a training signal for the image encoder of a small model.

Shapes: B images, O + 1 regions per image (background first), h x w patches, C channels.
"""

import torch
import torch.nn.functional as F
from torch import nn


class DenseClassHeads(nn.Module):
    """
    Two linear classifiers on image embeddings, one for nouns and one for colours; used in training only.

    Args:
        num_channels: Channels C of the image embeddings.
        num_nouns: Noun classes, background included.
        num_colours: Colour classes, background and "no tint" included.
        foreground_weight: How much more a patch that is all foreground weighs than one that is all background.
    """

    def __init__(self, *, num_channels: int, num_nouns: int, num_colours: int, foreground_weight: float = 5.0):
        super().__init__()
        self.num_nouns = num_nouns
        self.classifier = nn.Conv2d(num_channels, num_nouns + num_colours, kernel_size=1)
        self.foreground_weight = foreground_weight
        nn.init.normal_(self.classifier.weight, std=0.02)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, image_embeddings, region_fractions, noun_ids, colour_ids) -> dict[str, torch.Tensor]:
        """
        Scores every patch against the soft label "share of its pixels that belong to each class".

        Args:
            image_embeddings: (B, C, h, w).
            region_fractions: (B, O + 1, h, w), share of a patch's pixels in each region; sums to 1 over regions.
            noun_ids: (B, O + 1) noun class of each region, 0 for the background and for unused places.
            colour_ids: (B, O + 1) colour class of each region.

        Returns:
            `noun_loss`, `colour_loss`, `noun_accuracy`, `colour_accuracy`: scalars; the accuracies are over patches
            that are mostly foreground and carry no gradient.
        """
        logits = self.classifier(image_embeddings).float()
        foreground = 1 - region_fractions[:, 0]  # (B, h, w)
        weight = 1 + (self.foreground_weight - 1) * foreground
        mostly_foreground = foreground > 0.5
        result = {}
        groups = {"noun": (logits[:, : self.num_nouns], noun_ids), "colour": (logits[:, self.num_nouns :], colour_ids)}
        for name, (class_logits, class_ids) in groups.items():
            labels = torch.zeros_like(class_logits)
            labels.scatter_add_(1, class_ids[:, :, None, None].expand_as(region_fractions), region_fractions)
            loss = F.cross_entropy(class_logits, labels, reduction="none")  # (B, h, w)
            result[f"{name}_loss"] = (loss * weight).sum() / weight.sum()
            with torch.no_grad():
                hits = class_logits.argmax(1) == labels[:, 1:].argmax(1) + 1
                hits = (hits & mostly_foreground).sum() / mostly_foreground.sum().clamp(min=1)
            result[f"{name}_accuracy"] = hits
        return result
