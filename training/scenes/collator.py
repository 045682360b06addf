# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Batches of scenes as tensors.

Shapes: B images, K expressions or prompts per image, E = B * K, S canvas side, O + 1 regions (background first).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .objects import COLOURS, NOUNS

NOUN_CLASSES = {noun: number + 1 for number, noun in enumerate(NOUNS)}
# Class 0 is the background, 1 an object in its own colours.
COLOUR_CLASSES = {None: 1} | {colour: number + 2 for number, colour in enumerate(COLOURS)}
NUM_NOUN_CLASSES = len(NOUN_CLASSES) + 1
NUM_COLOUR_CLASSES = len(COLOUR_CLASSES) + 1


class SceneCollator:
    """
    Builds what both training stages read of the images: normalised pixels and dense class labels.

    Args:
        image_mean: Mean per channel, for pixel values in 0..1.
        image_std: Standard deviation per channel.
        patch_size: Side of SAM's patches in canvas pixels.
    """

    def __init__(self, *, image_mean, image_std, patch_size: int):
        self.image_mean = np.asarray(image_mean, dtype=np.float32)
        self.image_std = np.asarray(image_std, dtype=np.float32)
        self.patch_size = patch_size

    def __call__(self, items: list[dict]) -> dict:
        images = np.stack([item["image"] for item in items])
        instance_maps = np.stack([item["instance_map"] for item in items])
        batch: dict[str, Any] = {"pixel_values": self._pixels(images, items)}
        batch |= self._dense_labels(instance_maps, items)
        batch |= self._prompts(instance_maps, items)
        batch["keys"] = [item["key"] for item in items]
        batch["num_samples"] = sum(len(item.get("referrals") or item["pixel_draws"]) for item in items)
        return batch

    def _prompts(self, instance_maps, items) -> dict:
        return {}

    def _pixels(self, images: np.ndarray, items: list[dict]) -> torch.Tensor:
        """Normalises (B, S, S, 3) uint8 with each item's gain and offset; the padding stays zero."""
        pixels = images.astype(np.float32)
        gain = np.stack([item["gain"] for item in items])[:, None, None]  # (B, 1, 1, 3)
        offset = np.stack([item["offset"] for item in items])[:, None, None]
        if (gain != 1).any() or offset.any():
            pixels *= gain
            pixels += offset * 255
            np.clip(pixels, 0, 255, out=pixels)
        pixels *= 1 / (255 * self.image_std)
        pixels -= self.image_mean / self.image_std
        for number, item in enumerate(items):
            height, width = item["valid_hw"]
            pixels[number, height:] = 0
            pixels[number, :, width:] = 0
        return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))

    def _dense_labels(self, instance_maps: np.ndarray, items: list[dict]) -> dict[str, torch.Tensor]:
        """Counts the fraction of every patch that each region covers, and names the regions' classes."""
        num_regions = 1 + max(len(item["scene"].objects) for item in items)
        batch_size, side = instance_maps.shape[:2]
        grid = side // self.patch_size
        # (B, g, p, g, p) -> region number plus an offset per patch, so that one bincount serves the batch
        patches = instance_maps.reshape(batch_size, grid, self.patch_size, grid, self.patch_size).astype(np.int64)
        offset = np.arange(batch_size * grid * grid).reshape(batch_size, grid, 1, grid, 1) * num_regions
        counts = np.bincount((patches + offset).ravel(), minlength=batch_size * grid * grid * num_regions)
        counts = counts.reshape(batch_size, grid, grid, num_regions).transpose(0, 3, 1, 2)
        boxes = np.zeros((batch_size, num_regions, 4), dtype=np.float32)
        noun_ids = np.zeros((batch_size, num_regions), dtype=np.int64)
        colour_ids = np.zeros((batch_size, num_regions), dtype=np.int64)
        for number, item in enumerate(items):
            for region, thing in enumerate(item["scene"].objects):
                noun_ids[number, region + 1] = NOUN_CLASSES[thing.noun]
                colour_ids[number, region + 1] = COLOUR_CLASSES[thing.colour]
                boxes[number, region + 1] = np.asarray(thing.box_xyxy, np.float32) * (item["scale"] / side)
        return {
            "region_fractions": torch.from_numpy(counts.astype(np.float32) / self.patch_size**2),
            "noun_ids": torch.from_numpy(noun_ids),
            "colour_ids": torch.from_numpy(colour_ids),
            "region_boxes": torch.from_numpy(_to_cxcywh(boxes.reshape(-1, 4)).reshape(boxes.shape)),
        }


class TowerCollator(SceneCollator):
    """Adds objects to segment from a click or a box: `input_points`, `input_boxes`, `use_box`, `mask_labels`."""

    def _prompts(self, instance_maps, items) -> dict:
        count = len(items[0]["pixel_draws"])
        batch_size, side = instance_maps.shape[:2]
        points = np.zeros((batch_size, count, 1, 2), dtype=np.float32)
        boxes = np.zeros((batch_size, count, 4), dtype=np.float32)
        masks = np.zeros((batch_size, count, side, side), dtype=bool)
        for number, item in enumerate(items):
            visible = _visible_objects(instance_maps[number], item)
            for index in range(count):
                mask = masks[number, index]
                np.equal(instance_maps[number], visible[index % len(visible)] + 1, out=mask)
                points[number, index, 0] = _pixel_inside(mask, item["pixel_draws"][index])
                boxes[number, index] = _jittered_box(mask, item["box_noise"][index])
        use_box = np.stack([item["pixel_draws"] for item in items]) * 1e4 % 1 < 0.5
        return {
            "input_points": torch.from_numpy(points),
            "input_boxes": torch.from_numpy(boxes),
            "use_box": torch.from_numpy(use_box),
            "mask_labels": torch.from_numpy(masks),
        }


class ReferringCollator(SceneCollator):
    """
    Adds expressions with their masks and boxes, and `mentioned_regions`, (E, O + 1): which regions fit one of the
    expression's noun phrases. In some batches every expression also gets a click or a box.

    Args:
        tokenize: Turns a list of E expressions into `input_ids` and `attention_mask`, as the processor does.
        mask_size: Side of the mask labels.
        prompt_probability: Fraction of batches with clicks or boxes.
    """

    def __init__(self, *, tokenize: Callable, mask_size: int, prompt_probability: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        self.tokenize, self.mask_size, self.prompt_probability = tokenize, mask_size, prompt_probability

    def _prompts(self, instance_maps, items) -> dict:
        referrals = [referral for item in items for referral in item["referrals"]]
        image_index = np.repeat(np.arange(len(items)), [len(item["referrals"]) for item in items])
        side = instance_maps.shape[1]
        masks = np.zeros((len(referrals), side, side), dtype=bool)
        boxes = np.zeros((len(referrals), 4), dtype=np.float32)
        mentioned = np.zeros((len(referrals), 1 + max(len(item["scene"].objects) for item in items)), dtype=np.float32)
        for number, referral in enumerate(referrals):
            mentioned[number, [index + 1 for index in referral.mentioned]] = 1
            if referral.targets:
                item = items[image_index[number]]
                wanted = np.zeros(256, dtype=bool)
                wanted[[target + 1 for target in referral.targets]] = True
                np.take(wanted, instance_maps[image_index[number]], out=masks[number])
                boxes[number] = np.asarray(item["scene"].box_xyxy(referral.targets)) * (item["scale"] / side)
        batch = {
            **self.tokenize([referral.expression for referral in referrals]),
            "image_index": torch.from_numpy(image_index),
            "mask_labels": torch.from_numpy(self._label_masks(masks)),
            "box_labels": torch.from_numpy(_to_cxcywh(boxes)),
            "mentioned_regions": torch.from_numpy(mentioned),
            "no_target_labels": torch.tensor([float(not referral.targets) for referral in referrals]),
            "kinds": [referral.kind for referral in referrals],
            "expressions": [referral.expression for referral in referrals],
        }
        draw = items[0]["prompt_draw"]
        if draw < self.prompt_probability:
            batch |= _referring_prompts(masks, items, as_boxes=draw < self.prompt_probability / 2)
        return batch

    def _label_masks(self, masks: np.ndarray) -> np.ndarray:
        """Reduces (E, S, S) masks to the label size; a label pixel is set where at least half of it is covered."""
        count, side = masks.shape[:2]
        if side == self.mask_size:
            return masks
        step = side // self.mask_size
        blocks = masks.reshape(count, self.mask_size, step, self.mask_size, step)
        return blocks.mean((2, 4), dtype=np.float32) >= 0.5


def _referring_prompts(masks: np.ndarray, items: list[dict], *, as_boxes: bool) -> dict[str, torch.Tensor]:
    """Gives every expression a box around its target or a click in it; without a target, they are anywhere."""
    draws = np.concatenate([item["pixel_draws"] for item in items])
    noise = np.concatenate([item["box_noise"] for item in items])
    anywhere = np.ones(masks.shape[1:], dtype=bool)
    usable = [mask if mask.any() else anywhere for mask in masks]
    if as_boxes:
        boxes = np.stack([_jittered_box(mask, row) for mask, row in zip(usable, noise, strict=True)])
        return {"input_boxes": torch.from_numpy(boxes[:, None])}
    points = np.stack([_pixel_inside(mask, draw) for mask, draw in zip(usable, draws, strict=True)])
    labels = torch.ones(len(masks), 1, 1, dtype=torch.int64)
    return {"input_points": torch.from_numpy(points[:, None, None]), "input_labels": labels}


def _visible_objects(instance_map: np.ndarray, item: dict) -> list[int]:
    """Returns the item's objects in drawn order, without those that no canvas pixel shows."""
    areas = np.bincount(instance_map.ravel(), minlength=len(item["object_draws"]) + 1)[1:]
    visible = [number for number in item["object_draws"] if areas[number] > 0]
    if not visible:
        raise ValueError(f"scene {item['key']} shows none of its {len(areas)} objects on the canvas")
    return visible


def _pixel_inside(mask: np.ndarray, draw: float) -> np.ndarray:
    """Picks a foreground pixel by a number in [0, 1); returns its (x, y) as float32."""
    pixels = np.flatnonzero(mask)
    y, x = divmod(int(pixels[int(draw * len(pixels))]), mask.shape[1])
    return np.array([x, y], dtype=np.float32)


def _jittered_box(mask: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Returns the mask's xyxy box in pixels, each side moved by about a tenth of the box's size."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.array([columns[0], rows[0], columns[-1], rows[-1]], dtype=np.float32)
    size = np.array([box[2] - box[0], box[3] - box[1]] * 2, dtype=np.float32)
    return np.clip(box + 0.1 * size * np.clip(noise, -2, 2), 0, mask.shape[0] - 1)


def _to_cxcywh(boxes_xyxy: np.ndarray) -> np.ndarray:
    lower, upper = boxes_xyxy[:, :2], boxes_xyxy[:, 2:]
    return np.concatenate([(lower + upper) / 2, upper - lower], axis=1)
