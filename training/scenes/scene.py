# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A scene: an image, its objects, and which object each pixel shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class SceneObject:
    """One object of a scene, as far as it is visible.

    Args:
        noun: a member of `NOUNS`.
        colour: a member of `COLOURS`, or None for an emoji in its natural colours.
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
        """Return the visible pixels of some objects together.

        Args:
            targets: indices into `objects`; none gives an empty mask.

        Returns:
            (height, width) bool.
        """
        return np.isin(self.instance_map, [index + 1 for index in targets])

    def box_xyxy(self, targets: tuple[int, ...]) -> tuple[float, float, float, float] | None:
        """Return the hull of the boxes of some objects.

        Args:
            targets: indices into `objects`.

        Returns:
            Left, top, right and bottom edge in pixels, or None without targets.
        """
        if not targets:
            return None
        left, top, right, bottom = zip(*(self.objects[index].box_xyxy for index in targets))
        return min(left), min(top), max(right), max(bottom)

    def to_record(self) -> dict[str, Any]:
        """Return the scene as plain arrays and dictionaries, for a cache on disk."""
        return {
            "image": self.image,
            "instance_map": self.instance_map,
            "objects": [asdict(item) for item in self.objects],
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Scene:
        """Return the scene that `to_record` described.

        Args:
            record: a result of `to_record`; lists may stand for tuples and arrays.
        """
        objects = tuple(
            SceneObject(**{**item, "box_xyxy": tuple(item["box_xyxy"]), "center_xy": tuple(item["center_xy"])})
            for item in record["objects"]
        )
        return cls(np.asarray(record["image"], np.uint8), np.asarray(record["instance_map"], np.uint8), objects)


def flip_scene(scene: Scene) -> Scene:
    """Mirror a scene left to right, with its map and geometry, so that expressions drawn afterwards are right.

    Args:
        scene: any scene.

    Returns:
        A new scene.
    """
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
