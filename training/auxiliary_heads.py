# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Per-patch labels as a training signal for a small model: classes for its image encoder, "is meant" for its prompts.

Shapes: B images, O + 1 regions per image (background first), h x w patches, C channels, E expressions.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

# Weight of the box of a patch's object beside its noun and colour.
BOX_WEIGHT = 2.0
# Of the logarithm by which the contrast's cosines are stretched.
LARGEST_SCALE = 4.1


class DenseHeads(nn.Module):
    """
    Linear readers of image embeddings, used in training only: each patch's noun and colour, and the box of its object.

    The boxes make the encoder tell objects apart and note where each of them ends, which a coarse grid hides.

    Args:
        num_nouns, num_colours: Classes, background and "no tint" included.
        foreground_weight: How much more a patch that is all foreground weighs than one that is all background.
    """

    def __init__(self, *, num_channels: int, num_nouns: int, num_colours: int, foreground_weight: float = 5.0):
        super().__init__()
        self.num_nouns = num_nouns
        self.classifier = nn.Conv2d(num_channels, num_nouns + num_colours, kernel_size=1)
        self.box_reader = nn.Conv2d(num_channels, 4, kernel_size=1)
        self.foreground_weight = foreground_weight
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.02) if parameter.ndim > 1 else nn.init.zeros_(parameter)

    def forward(
        self, image_embeddings, region_fractions, noun_ids, colour_ids, region_boxes
    ) -> dict[str, torch.Tensor]:
        """
        Scores every patch against the soft label "share of its pixels that belong to each class", and against the box
        of the object that covers most of it.

        Args:
            image_embeddings: (B, C, h, w).
            region_fractions: (B, O + 1, h, w), share of a patch's pixels in each region; sums to 1 over regions.
            noun_ids: (B, O + 1) noun class of each region, 0 for the background and for unused places.
            colour_ids: (B, O + 1) colour class of each region.
            region_boxes: (B, O + 1, 4) box of each region's visible pixels, cxcywh in shares of the canvas.

        Returns:
            `dense`, the weighted sum; its parts `noun_loss`, `colour_loss`, `patch_box_loss` (sum over the four
            coordinates of the mean distance, over patches that are mostly foreground); `noun_accuracy` and
            `colour_accuracy` over the same patches, without gradient. All scalars.
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
        result["patch_box_loss"] = self._box_loss(image_embeddings, region_fractions, region_boxes, mostly_foreground)
        result["dense"] = result["noun_loss"] + result["colour_loss"] + BOX_WEIGHT * result["patch_box_loss"]
        return result

    def _box_loss(self, image_embeddings, region_fractions, region_boxes, mostly_foreground) -> torch.Tensor:
        boxes = self.box_reader(image_embeddings).float().sigmoid().permute(0, 2, 3, 1)  # (B, h, w, 4)
        owner = region_fractions[:, 1:].argmax(1) + 1  # (B, h, w)
        targets = region_boxes.gather(1, owner.flatten(1)[..., None].expand(-1, -1, 4)).view_as(boxes)
        distances = (boxes - targets).abs().sum(-1) * mostly_foreground
        return distances.sum() / mostly_foreground.sum().clamp(min=1)


class _SentenceReader(nn.Module):
    """What notes the sentences of a model's last forward and compares masks with them on the grid of its patches."""

    def __init__(self, model: Any):
        super().__init__()
        self.grid_size = model.config.grid_size
        self._sentences: list[torch.Tensor] = []
        model.sentence_projection.register_forward_hook(self._note_sentence)

    def _note_sentence(self, _module, _inputs, output):
        self._sentences[:] = [output]

    def _pooled(self, labels: torch.Tensor) -> torch.Tensor:
        """Turns (E, M, M) labels into fractions of the grid's cells, (E, N)."""
        return F.avg_pool2d(labels.unsqueeze(1), labels.shape[-1] // self.grid_size).flatten(1)


class ForegroundHeads(_SentenceReader):
    """
    Reads from each patch whether it is meant, before and inside the prompt generator of a model with a BERT text tower;
    used in training only.

    They give the similarity of patch and sentence, and every layer, a direct signal, which a prompt that reaches a mask
    only through SAM's decoder lacks. A patch that is all foreground weighs `foreground_weight` times as much as one
    that is all background.
    """

    def __init__(self, model: Any, *, foreground_weight: float = 5.0):
        super().__init__(model)
        generator, self.foreground_weight = model.prompt_generator, foreground_weight
        hidden_size = model.config.prompt_hidden_size
        # The patches' last states are those that enter the last layer.
        self.scorers = nn.ModuleList(nn.Linear(hidden_size, 1) for _ in range(len(generator.layers)))
        # Layers of the first half also say which objects fit a noun phrase, before one of them is chosen.
        self.mention_scorers = nn.ModuleList(nn.Linear(hidden_size, 1) for _ in range((len(generator.layers) + 1) // 2))
        for parameter in self.parameters():  # at first they learn, and disturb no trained model
            nn.init.zeros_(parameter)
        # Patches are normalised over the tokens, so their products with a unit sentence are small.
        self.similarity_scale = nn.Parameter(torch.tensor(3.4))  # a logarithm
        self.similarity_bias = nn.Parameter(torch.tensor(-2.0))
        self._states: list[torch.Tensor] = []
        generator.register_forward_pre_hook(self._start)
        for layer in generator.layers[:-1]:
            layer.register_forward_hook(self._note)

    def _start(self, _module, inputs):
        self._states[:] = inputs[:1]

    def _note(self, _module, _inputs, output):
        self._states.append(output)

    def forward(
        self, patch_features: torch.Tensor, mask_labels: torch.Tensor, mentioned: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """
        Scores the patches of the model's last forward against the fraction of each that is meant.

        Args:
            patch_features: (E, N, C), what the sentences were compared with.
            mask_labels: (E, M, M), 0 or 1; M must be a multiple of the grid's side g. N = g * g.
            mentioned: (E, s, s), the fraction of each patch that fits one of the noun phrases, if the data says so; s
                must be a multiple of g.

        Returns:
            `foreground`, the mean weighted binary cross-entropy over layers, expressions and patches; `similarity`,
            that of the similarity; `mention`, that of fitting a noun phrase.
        """
        fractions = self._pooled(mask_labels)
        layers = [self._loss(*pair, fractions) for pair in zip(self.scorers, self._states, strict=True)]
        losses = {"foreground": torch.stack(layers).mean()}
        if mentioned is not None:
            named = self._pooled(mentioned)
            layers = [self._loss(*pair, named) for pair in zip(self.mention_scorers, self._states, strict=False)]
            losses["mention"] = torch.stack(layers).mean()
        sentence = F.normalize(self._sentences[0], dim=-1)
        similarity = torch.matmul(patch_features, sentence.unsqueeze(-1)).squeeze(-1)  # (E, N)
        logits = similarity * self.similarity_scale.exp() + self.similarity_bias
        losses["similarity"] = self._cross_entropy(logits, fractions)
        self._states.clear()
        self._sentences.clear()
        return losses

    def _loss(self, scorer: nn.Module, states: torch.Tensor, fractions: torch.Tensor) -> torch.Tensor:
        return self._cross_entropy(scorer(states[:, -fractions.shape[1] :]).squeeze(-1), fractions)

    def _cross_entropy(self, logits: torch.Tensor, fractions: torch.Tensor) -> torch.Tensor:
        weights = 1 + (self.foreground_weight - 1) * fractions
        return F.binary_cross_entropy_with_logits(logits.float(), fractions, weights)


class ContrastHead(_SentenceReader):
    """
    Tells which of a batch's sentences each meant patch belongs to, for a model with a BERT text tower; used in training
    only.

    The masks say where one sentence points. This says that no other sentence points there, which is what makes the
    sentences differ: without it they may all agree on "some object" for long.
    """

    def __init__(self, model: Any):
        super().__init__(model)
        self.scale = nn.Parameter(torch.tensor(3.4))  # a logarithm

    def forward(
        self,
        patch_features: torch.Tensor,
        mask_labels: torch.Tensor,
        input_ids: torch.Tensor,
        image_index: torch.Tensor,
    ) -> torch.Tensor:
        """
        Scores the patches that each sentence of the model's last forward means against all sentences of the batch.

        Sentences of the same words, and those of one image whose targets overlap, are not set against each other.

        Args:
            patch_features: (E, N, C), what the sentences are compared with. N = g * g.
            mask_labels: (E, M, M), 0 or 1, empty where nothing is meant; M must be a multiple of the grid's side g.
            input_ids: (E, L), padded alike.
            image_index: (E,), the image of each sentence.

        Returns:
            Mean cross-entropy over meant patches, each weighted by the fraction of it that is meant; 0 without any.
        """
        fractions = self._pooled(mask_labels)  # (E, N)
        sentences = F.normalize(self._sentences[0], dim=-1)
        self._sentences.clear()
        scale = self.scale.clamp(max=LARGEST_SCALE).exp()
        logits = torch.einsum("enc,kc->ekn", F.normalize(patch_features, dim=-1), sentences) * scale
        same_words = (input_ids[:, None] == input_ids).all(-1)
        overlapping = (image_index[:, None] == image_index) & (fractions @ fractions.T > 0)
        itself = torch.eye(len(input_ids), dtype=torch.bool, device=input_ids.device)
        left_out = (same_words | overlapping) & ~itself
        losses = -logits.masked_fill(left_out[..., None], -torch.inf).log_softmax(1).diagonal().T  # (E, N)
        return (losses * fractions).sum() / fractions.sum().clamp(min=1e-6)
