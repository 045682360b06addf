"""Generated scenes with referring expressions: an endless, seeded source of training and test samples.

A scene is an image with two to six objects on a background, and for every pixel the object that is visible there.
Referrals are expressions such as "the second star from the left", each with the objects it means: one, several or none.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

from .scene_backgrounds import draw_background
from .scene_expressions import KINDS, VOCABULARY_WORDS, Referral, refer
from .scene_objects import (
    COLOURS,
    EMOJI_NOUNS,
    NOUNS,
    NOVEL_COMBINATIONS,
    SHAPE_NOUNS,
    TINTED_NOUNS,
    colours_of,
    draw_object,
)

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "COLOURS", "KINDS", "NOUNS", "NOVEL_COMBINATIONS", "SPLITS", "VOCABULARY_WORDS", "Referral", "Scene", "SceneObject",
    "draw_referrals", "flip_scene", "generate_scene", "scene_dataset",
]  # fmt: skip

SPLITS = ("train", "validation", "test", "novel")
MINIMUM_SIDE_PX = 48

_LONG_SIDES_PX = (128, 160, 192, 256, 320)
_ASPECT_RATIOS = (4 / 3, 3 / 4, 3 / 2, 2 / 3, 16 / 10, 10 / 16, 16 / 9, 9 / 16)  # width / height
_SMALL, _LARGE = (0.235, 0.29), (0.36, 0.48)  # longer side of an object as a share of the image's shorter side
_SCENE_STREAM, _DATASET_STREAM = 1, 2  # so that no two uses of a seed share random numbers
_MAX_COVERED = 0.08  # share of an object that later objects may hide
_MIN_CONTRAST = 42.0  # RGB distance between an object and what is behind it


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


def generate_scene(seed: int, split: str = "train", size_hw: tuple[int, int] | None = None) -> Scene:
    """Generate one scene; the same arguments always give the same bytes.

    Args:
        seed: any non-negative integer; each is a different scene, and different again in each split.
        split: a member of `SPLITS`. `novel` scenes hold at least one of `NOVEL_COMBINATIONS`, the others none.
        size_hw: height and width in pixels; None draws a long side of 128 to 320 and an aspect ratio.

    Returns:
        The scene.

    Raises:
        ValueError: if the split is unknown, the seed negative or a side shorter than 48 pixels.
    """
    split_index = _check_split(split)
    _check_seed(seed)
    rng = np.random.default_rng([split_index + 1, seed, _SCENE_STREAM])
    size_hw = _draw_size(rng) if size_hw is None else _check_size(size_hw)
    while True:
        scene = _compose(size_hw, split, rng)
        if scene is not None:
            return scene


def draw_referrals(scene: Scene, rng: np.random.Generator, count: int, split: str = "train") -> list[Referral]:
    """Draw referring expressions for a scene; the same scene can be asked again with another generator.

    Args:
        scene: the scene to talk about.
        rng: source of kinds, targets and wordings.
        count: number of expressions, at least 1. They differ from each other as far as the scene allows.
        split: a member of `SPLITS`. All but `novel` never mention one of `NOVEL_COMBINATIONS`; in `novel` most
            expressions mean such an object.

    Returns:
        `count` referrals. Each is true of the scene and complete: no other object fits it.

    Raises:
        ValueError: if the split is unknown or the count below 1.
    """
    _check_split(split)
    if count < 1:
        raise ValueError(f"expected a count of at least 1 expression, got {count}")
    return refer(scene, rng, count, novel=split == "novel")


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


def scene_dataset(
    split: str,
    num_scenes: int,
    expressions_per_scene: int = 6,
    seed: int = 0,
    size_hw: tuple[int, int] | None = None,
) -> Dataset:
    """Generate scenes as a dataset with one row per expression.

    Args:
        split: a member of `SPLITS`.
        num_scenes: number of scenes, at least 1.
        expressions_per_scene: number of rows per scene, at least 1.
        seed: which block of a million scenes to start at; another seed gives other scenes.
        size_hw: height and width in pixels; None draws a size for each scene.

    Returns:
        A dataset with the columns image (RGB), expression, mask (255 is the target), box (xyxy in image pixels, zeros
        without a target), kind, no_target and scene_id.

    Raises:
        ValueError: if the split is unknown, the seed negative, a side too short or a count below 1.
    """
    from datasets import Dataset, Features, List, Value
    from datasets import Image as ImageFeature

    split_index = _check_split(split)
    _check_seed(seed)
    if num_scenes < 1:
        raise ValueError(f"expected num_scenes of at least 1, got {num_scenes}")
    if expressions_per_scene < 1:
        raise ValueError(f"expected expressions_per_scene of at least 1, got {expressions_per_scene}")
    if size_hw is not None:
        _check_size(size_hw)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("image", "expression", "mask", "box", "kind", "no_target", "scene_id")
    }
    for scene_id in range(seed * 1_000_000, seed * 1_000_000 + num_scenes):
        scene = generate_scene(scene_id, split, size_hw)
        rng = np.random.default_rng([split_index + 1, scene_id, _DATASET_STREAM])
        image = _png(scene.image)
        for referral in draw_referrals(scene, rng, expressions_per_scene, split):
            columns["image"].append(image)
            columns["expression"].append(referral.expression)
            columns["mask"].append(_png(scene.mask(referral.targets).astype(np.uint8) * 255))
            columns["box"].append(list(scene.box_xyxy(referral.targets) or (0.0, 0.0, 0.0, 0.0)))
            columns["kind"].append(referral.kind)
            columns["no_target"].append(not referral.targets)
            columns["scene_id"].append(scene_id)
    features = Features(
        image=ImageFeature(),
        expression=Value("string"),
        mask=ImageFeature(),
        box=List(Value("float32"), length=4),
        kind=Value("string"),
        no_target=Value("bool"),
        scene_id=Value("int64"),
    )
    return Dataset.from_dict(columns, features=features)


# --- composition ------------------------------------------------------------------------------------------------------


def _draw_size(rng: np.random.Generator) -> tuple[int, int]:
    long_side = int(_LONG_SIDES_PX[rng.integers(len(_LONG_SIDES_PX))])
    if rng.random() < 0.5:
        return long_side, long_side
    ratio = _ASPECT_RATIOS[rng.integers(len(_ASPECT_RATIOS))]
    return (round(long_side / ratio), long_side) if ratio > 1 else (long_side, round(long_side * ratio))


def _draw_cast(split: str, rng: np.random.Generator) -> list[tuple[str, str | None]]:
    """Choose the nouns and colours of a scene: few kinds, so that most have a rival of the same noun or colour."""
    count = int(rng.choice([2, 3, 4, 5, 6], p=[0.12, 0.22, 0.28, 0.22, 0.16]))
    kinds = min(count, int(rng.choice([1, 2, 3, 4], p=[0.15, 0.35, 0.3, 0.2])))
    pools = (EMOJI_NOUNS, TINTED_NOUNS, SHAPE_NOUNS)
    nouns = [str(rng.choice(pools[rng.choice(3, p=[0.48, 0.27, 0.25])])) for _ in range(kinds)]
    palette = list(rng.permutation(COLOURS)[: int(rng.integers(1, 4))])

    def colour_for(noun: str) -> str | None:
        fitting = [
            str(colour)
            for colour in (palette if rng.random() < 0.75 else COLOURS)
            if colour in colours_of(noun) and (noun, colour) not in NOVEL_COMBINATIONS
        ] or [colour for colour in colours_of(noun) if (noun, colour) not in NOVEL_COMBINATIONS]
        return fitting[rng.integers(len(fitting))] if colours_of(noun) else None

    cast: list[tuple[str, str | None]] = []
    if split == "novel":
        combinations = sorted(NOVEL_COMBINATIONS)
        cast.append(combinations[rng.integers(len(combinations))])
        nouns[0] = cast[0][0]
    for index in range(len(cast), count):
        noun = nouns[index] if index < kinds else nouns[rng.integers(kinds)]
        cast.append((noun, colour_for(noun)))
    return cast


def _compose(size_hw: tuple[int, int], split: str, rng: np.random.Generator) -> Scene | None:
    """Place a cast on a background; None if fewer than two objects found room."""
    height, width = size_hw
    shorter = min(size_hw)
    canvas = np.array(draw_background(size_hw, rng, held_out=split != "train"), np.float32)
    instance_map = np.zeros(size_hw, np.uint8)
    full_areas: list[int] = []
    placed: list[tuple[str, str | None, str]] = []
    shadow = float(rng.uniform(0.2, 0.5)) if rng.random() < 0.25 else 0.0
    touching = rng.random() < 0.35
    room = 0.6 * width * height

    # 1. One object after the other, each where there is room.
    for noun, colour in _draw_cast(split, rng):
        large = rng.random() < 0.5
        low, high = _LARGE if large else _SMALL
        size_px = shorter * rng.uniform(low, high)
        if large and size_px * size_px > 0.6 * room:
            large, size_px = False, shorter * rng.uniform(*_SMALL)
        sprite = draw_object(noun, colour, size_px, rng)
        corner = _find_room(sprite, canvas, instance_map, full_areas, touching, rng)
        if corner is None:
            if split == "novel" and not placed:
                return None
            continue
        room -= 1.3 * size_px * size_px
        if shadow:
            _cast_shadow(canvas, sprite, corner, shadow)
        visible = _paste(canvas, instance_map, sprite, corner, len(placed) + 1)
        full_areas.append(visible)
        placed.append((noun, colour, "large" if large else "small"))
    if len(placed) < 2:
        return None

    # 2. Geometry of what is visible in the end.
    objects = []
    for index, (noun, colour, size) in enumerate(placed):
        mask = instance_map == index + 1
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        objects.append(SceneObject(noun, colour, size, box, center, int(mask.sum())))
    return Scene(_degrade(canvas, rng), instance_map, tuple(objects))


def _find_room(
    sprite: np.ndarray,
    canvas: np.ndarray,
    instance_map: np.ndarray,
    full_areas: list[int],
    touching: bool,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """Return a top-left corner (row, column) where the sprite hides little and stands out, or None."""
    sprite_height, sprite_width = sprite.shape[:2]
    rows, columns = canvas.shape[0] - sprite_height, canvas.shape[1] - sprite_width
    if rows < 1 or columns < 1:
        return None
    solid = sprite[..., 3] > 127
    mean_colour = sprite[..., :3][solid].mean(0)
    hidden = np.bincount(instance_map.ravel(), minlength=len(full_areas) + 1)
    for _ in range(25):
        row, column = int(rng.integers(rows + 1)), int(rng.integers(columns + 1))
        under = instance_map[row : row + sprite_height, column : column + sprite_width]
        if not touching:
            if under.any():
                continue
        elif under.any():
            covered = np.bincount(under[solid], minlength=len(full_areas) + 1)
            left = hidden[1:] - covered[1:]
            if any(rest < (1 - _MAX_COVERED) * full for rest, full in zip(left, full_areas)):
                continue
        behind = canvas[row : row + sprite_height, column : column + sprite_width][solid]
        if np.linalg.norm(behind.mean(0) - mean_colour) >= _MIN_CONTRAST:
            return row, column
    return None


def _paste(
    canvas: np.ndarray, instance_map: np.ndarray, sprite: np.ndarray, corner: tuple[int, int], label: int
) -> int:
    """Draw a sprite onto the canvas and the map, in place; return the number of its solid pixels."""
    row, column = corner
    window = np.s_[row : row + sprite.shape[0], column : column + sprite.shape[1]]
    alpha = sprite[..., 3:].astype(np.float32) / 255
    canvas[window] += (sprite[..., :3] - canvas[window]) * alpha
    solid = sprite[..., 3] > 127
    instance_map[window][solid] = label
    return int(solid.sum())


def _cast_shadow(canvas: np.ndarray, sprite: np.ndarray, corner: tuple[int, int], strength: float) -> None:
    """Darken the canvas, in place, a little below and beside where the sprite will be."""
    height, width = sprite.shape[:2]
    shift = max(1, round(0.06 * max(height, width)))
    blurred = Image.fromarray(np.pad(sprite[..., 3], shift)).filter(ImageFilter.BoxBlur(shift / 2))
    row, column = corner  # the padding moves the shadow up and left by `shift`, the offset twice as far back
    bottom, right = min(canvas.shape[0], row + height + 2 * shift), min(canvas.shape[1], column + width + 2 * shift)
    alpha = np.asarray(blurred, np.float32)[: bottom - row, : right - column, None] / 255
    canvas[row:bottom, column:right] *= 1 - strength * alpha


def _degrade(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the finished image, sometimes dimmed, blurred, grainy or squeezed through JPEG."""
    if rng.random() < 0.15:
        canvas = canvas * np.float32(rng.uniform(0.82, 1.08))
    if rng.random() < 0.12:
        canvas = canvas + rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(2, 10))
    image = canvas.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.1:
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.9))))
        image = np.asarray(blurred)
    if rng.random() < 0.12:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=int(rng.integers(45, 92)))
        image = np.asarray(Image.open(buffer))
    return np.ascontiguousarray(image)


def _png(array: np.ndarray) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}


# --- arguments --------------------------------------------------------------------------------------------------------


def _check_split(split: str) -> int:
    if split not in SPLITS:
        raise ValueError(f"expected split to be one of {', '.join(SPLITS)}, got {split!r}")
    return SPLITS.index(split)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"expected a seed of at least 0, got {seed}")


def _check_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    height, width = size_hw
    if min(height, width) < MINIMUM_SIDE_PX:
        raise ValueError(f"expected size_hw of at least {MINIMUM_SIDE_PX} pixels a side, got {tuple(size_hw)}")
    return int(height), int(width)
