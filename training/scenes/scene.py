# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A scene: an image, its objects, and which object each pixel shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene, as far as it is visible.

    Args:
        noun: a member of `NOUNS`.
        colour: a member of `COLOURS`, or None for natural colours and for shades that no expression names.
        size: "small" or "large".
        box_xyxy: left, top, right and bottom edge of the visible pixels, in pixels; right and bottom are exclusive.
        center_xy: centre of that box, in pixels.
        area_px: number of visible pixels.
    """

    noun: str
    colour: str | None
    size: str
    box_xyxy: tuple[float, float, float, float]
    center_xy: tuple[float, float]
    area_px: int


@dataclass(frozen=True)
class Scene:
    """An image, its objects, and which object each pixel shows.

    Args:
        image: (height, width, 3) uint8 RGB.
        instance_map: (height, width) uint8; 0 is background, i + 1 the visible part of object i.
        objects: the objects, later ones drawn over earlier ones.
    """

    image: np.ndarray
    instance_map: np.ndarray
    objects: tuple[SceneObject, ...]

    def mask(self, targets: tuple[int, ...]) -> np.ndarray:
        """Returns the visible pixels of the objects with these indices together, (height, width) bool."""
        return np.isin(self.instance_map, [index + 1 for index in targets])

    def box_xyxy(self, targets: tuple[int, ...]) -> tuple[float, float, float, float] | None:
        """Returns the hull of the boxes of objects, in pixels; `None` without targets."""
        if not targets:
            return None
        left, top, right, bottom = zip(*(self.objects[index].box_xyxy for index in targets))
        return min(left), min(top), max(right), max(bottom)


def flip_scene(scene: Scene) -> Scene:
    """Mirrors a scene left to right, with its map and geometry, so that expressions drawn afterwards are right."""
    width = float(scene.image.shape[1])
    objects = []
    for item in scene.objects:
        left, top, right, bottom = item.box_xyxy
        box = (width - right, top, width - left, bottom)
        center = (width - item.center_xy[0], item.center_xy[1])
        objects.append(SceneObject(item.noun, item.colour, item.size, box, center, item.area_px))
    return Scene(
        np.ascontiguousarray(scene.image[:, ::-1]), np.ascontiguousarray(scene.instance_map[:, ::-1]), tuple(objects)
    )
