# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The contrast between the sentences of a batch: what it asks for, and which sentences it leaves alone."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssp_sam.training.auxiliary_heads import ContrastHead, ForegroundHeads
from ssp_sam.training.objectives import boundary_loss
from tests.helpers.models import tiny_inputs, tiny_labels, tiny_model


def contrast(sentences, patches, masks, words, images=None) -> torch.Tensor:
    """The loss of E sentences in two channels over a row of two patches each, without the model around it."""
    model = nn.Module()
    model.config = SimpleNamespace(grid_size=2)
    model.sentence_projection = nn.Identity()
    head = ContrastHead(model)
    model.sentence_projection(torch.as_tensor(sentences))
    masks = torch.tensor(masks).reshape(-1, 2, 2).repeat_interleave(2, 1).repeat_interleave(2, 2)
    images = torch.zeros(len(sentences), dtype=torch.long) if images is None else torch.tensor(images)
    return head(torch.tensor(patches), masks, torch.tensor(words), images)


# Four patches of one image: the first looks along one axis, the second along the other, two along neither.
PATCHES = [[[1.0, 0.0], [0.0, 1.0], [0.7, 0.7], [0.7, 0.7]]] * 2
FIRST, SECOND, NONE = [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0] * 4
APART, ALIKE = [[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]


def test_sentences_that_point_each_at_their_own_patches_cost_least():
    masks, words = [FIRST, SECOND], [[1], [2]]
    right, alike, swapped = (contrast(s, PATCHES, masks, words) for s in (APART, ALIKE, APART[::-1]))
    assert right < 0.01 < alike < swapped
    assert alike.item() == pytest.approx(torch.tensor(2.0).log().item())


def test_a_sentence_that_means_nothing_is_set_against_every_target():
    masks, words = [FIRST, NONE], [[1], [2]]
    assert contrast(APART, PATCHES, masks, words) < contrast(ALIKE, PATCHES, masks, words)


@pytest.mark.parametrize(
    ("masks", "words", "images"),
    [
        ([FIRST, SECOND], [[1], [1]], [0, 0]),  # the same words
        ([FIRST, FIRST], [[1], [2]], [0, 0]),  # one target
        ([NONE, NONE], [[1], [2]], [0, 0]),  # no target at all
    ],
)
def test_sentences_that_may_mean_the_same_are_left_alone(masks, words, images):
    assert contrast(ALIKE, PATCHES, masks, words, images).item() == 0


def test_targets_at_one_position_of_two_images_are_set_against_each_other():
    assert contrast(ALIKE, PATCHES, [FIRST, FIRST], [[1], [2]], [0, 1]) > 0.5


def test_the_contrast_moves_sentences():
    sentences = torch.tensor(ALIKE, requires_grad=True)
    contrast(sentences, PATCHES, [FIRST, SECOND], [[1], [2]]).backward()
    towards_its_own = sentences.grad[0, 0] - sentences.grad[0, 1]
    assert towards_its_own < 0


def after_a_forward():
    """A model, its new readers, and the patches of the forward that they have watched."""
    model = tiny_model("single tower")
    heads = ForegroundHeads(model)
    inputs = tiny_inputs("single tower")
    features = model.get_image_features(inputs.pop("pixel_values"))
    model(image_features=features, predict_masks=False, **inputs)
    return model, heads, features.patch_features


def test_new_readers_of_the_foreground_learn_before_they_move_the_model():
    model, heads, patch_features = after_a_forward()
    labels = tiny_labels()["mask_labels"]
    losses = heads(patch_features, labels, mentioned=labels)
    (losses["foreground"] + losses["mention"]).backward()
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in model.parameters())
    assert all(scorer.weight.grad.any() for scorer in (*heads.scorers, *heads.mention_scorers))


def test_without_noun_phrases_nothing_is_said_of_them():
    _, heads, patch_features = after_a_forward()
    assert set(heads(patch_features, tiny_labels()["mask_labels"])) == {"foreground", "similarity"}


def test_the_boundary_loss_looks_at_outlines():
    torch.manual_seed(0)
    target = torch.zeros(1, 64, 64)
    target[:, 16:48, 16:48] = 1
    right = F.avg_pool2d(target, 2) * 20 - 10  # an outline through the middle of these logits' own cells
    moved = right.roll(1, dims=2)
    faint = right / 10  # as sure everywhere of what is right
    losses = [boundary_loss(logits, target) for logits in (right, moved, faint)]
    assert losses[0] < losses[2] < losses[1]
    # One column of 32 is wrong: the mean over all pixels is less than that over points at outlines.
    everywhere = F.binary_cross_entropy_with_logits(moved.repeat_interleave(2, 1).repeat_interleave(2, 2), target)
    assert losses[1] > 1.4 * everywhere
    assert boundary_loss(torch.full((2, 8, 8), -9.0), torch.zeros(2, 16, 16)) < 1e-3
