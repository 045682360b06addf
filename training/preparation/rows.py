# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Makes rows of a prepared benchmark from references as they were annotated: draws masks, checks them and pictures."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from ..data import masks as run_lengths
from .readers.images import TURNED_SIDEWAYS, PictureFolder, read_header, without_orientation
from .readers.records import BadRecord, RawObject, RawReference

MaskRule = Literal["coco", "phrasecut"]
_LOSSY = (".jpg", ".jpeg", ".webp")


@dataclass
class RowMaker:
    """
    Makes rows.

    Args:
        pictures: Folder of images, None where references hold their pictures.
        image_bytes: Whether rows hold the pictures themselves rather than their paths.
        mask_rule: How polygons are drawn: `"coco"` as pycocotools does, `"phrasecut"` as PhraseCut's own evaluator
            does, on whole pixels and with the outline.
        notes: What was put right or looks odd, counted.
    """

    pictures: PictureFolder | None
    image_bytes: bool = False
    mask_rule: MaskRule = "coco"
    notes: Counter = field(default_factory=Counter)

    def row(self, raw: RawReference) -> dict[str, Any]:
        """
        Returns the row, with the columns of `refer_data.FEATURES`.

        Raises:
            BadRecord: Something in the reference cannot be used; says what.
        """
        # 1. The sentences.
        expressions = [text for text in raw.expressions if text.strip()]
        self.notes["empty_expressions"] += len(raw.expressions) - len(expressions)
        if not expressions:
            raise BadRecord(f"no sentence has words, got {raw.expressions!r}")
        # 2. The picture, by its own header.
        picture = self._find(raw)
        arrays = [_read_mask(item.mask_file) if item.mask_file is not None else None for item in raw.objects]
        annotated = raw.size_hw or next((array.shape for array in arrays if array is not None), None)
        image, size_hw = self._image(picture, annotated, raw)
        # 3. What is meant.
        masks, boxes = [], []
        for item, array in zip(raw.objects, arrays):
            if not raw.boxes_only:
                masks.append(self._mask(item, array, size_hw))
            if item.box_xyxy is not None:
                boxes.append(_inside(item.box_xyxy, size_hw))
        objects, empty = raw.objects, bool(masks) and not any(run_lengths.area(mask) for mask in masks)
        if empty and raw.empty_is_no_target:
            objects, masks, boxes = [], [], []
        elif empty:
            self.notes["targets_without_pixels"] += 1
        if not boxes and masks:
            boxes = [box for mask in masks if (box := run_lengths.bounding_box(mask)) is not None]
        if objects and not boxes:
            raise BadRecord("the target has neither a box nor a pixel")
        self.notes["crowd_regions"] += sum(item.is_crowd for item in objects)
        return {
            "image": image,
            "image_id": raw.image_id,
            "size_hw": list(size_hw),
            "ref_id": raw.ref_id,
            "ann_ids": [item.ann_id for item in objects],
            "category": raw.category,
            "expressions": expressions,
            "split": raw.split,
            "masks": masks,
            "box_xyxy": _hull(boxes) if objects else None,
            "no_target": not objects,
            "source": raw.source,
            "licence": raw.licence,
        }

    def _find(self, raw: RawReference) -> Path | bytes:
        if raw.picture_bytes is not None:
            return raw.picture_bytes
        if self.pictures is None:
            raise BadRecord("the annotation holds no picture: name a folder of images")
        return self.pictures.find(raw.pictures)

    def _image(self, picture: Path | bytes, annotated: Any, raw: RawReference) -> tuple[dict, tuple[int, int]]:
        """The `image` column, and the size of what it shows; turned pictures are shown as their masks are drawn."""
        height, width, orientation = read_header(picture)
        stored, shown = (height, width), ((width, height) if orientation in TURNED_SIDEWAYS else (height, width))
        if annotated is not None and tuple(annotated) not in (stored, shown):
            raise BadRecord(
                f"the picture has {height} x {width} pixels (height x width), "
                f"the annotation says {annotated[0]} x {annotated[1]}"
            )
        name = raw.pictures[0].rsplit("/", 1)[-1] if raw.pictures else raw.image_id
        by_stored = stored != shown and annotated is not None and tuple(annotated) == stored
        by_shown = stored != shown and annotated is not None and not by_stored
        if orientation != 1 and (by_stored or (not by_shown and not raw.upright)):
            self.notes["pictures_shown_as_stored"] += 1
            data = picture if isinstance(picture, bytes) else picture.read_bytes()
            return {"bytes": without_orientation(data), "path": name}, stored
        if isinstance(picture, bytes):
            return {"bytes": picture, "path": name}, shown
        if self.image_bytes:
            return {"bytes": picture.read_bytes(), "path": picture.name}, shown
        return {"bytes": None, "path": str(picture.resolve())}, shown

    def _mask(self, item: RawObject, array: np.ndarray | None, size_hw: tuple[int, int]) -> dict[str, Any]:
        try:
            if array is not None:
                if array.shape != size_hw:
                    raise BadRecord(f"mask {item.mask_file!r} has {array.shape} pixels, its picture {size_hw}")
                return run_lengths.encode(array)
            return self._from_segmentation(item.segmentation, *size_hw)
        except ValueError as error:
            raise BadRecord(f"annotation {item.ann_id}: {error}") from error

    def _from_segmentation(self, segmentation: Any, height: int, width: int) -> dict[str, Any]:
        if isinstance(segmentation, dict):
            segmentation = [segmentation]
        if not isinstance(segmentation, list) or not segmentation:
            raise ValueError(f"expected polygons or run lengths, got {segmentation!r}")
        if all(isinstance(part, dict) for part in segmentation):
            mask = run_lengths.union(segmentation)
            if mask["size"] != [height, width]:
                raise ValueError(f"its mask has size {mask['size']}, the picture {[height, width]}")
            return mask
        return self._from_polygons(segmentation, height, width)

    def _from_polygons(self, polygons: list[Any], height: int, width: int) -> dict[str, Any]:
        whole = [part for part in polygons if not (isinstance(part, list) and len(part) in (2, 4))]
        self.notes["polygons_without_area"] += len(polygons) - len(whole)
        if not whole:
            raise ValueError(f"no polygon has three corners, got {polygons!r}")
        beyond = max(height, width)
        for part in whole:
            if isinstance(part, list) and all(isinstance(value, int | float) for value in part):
                lowest, highest = min(part, default=0), max(part, default=0)
                if lowest < -beyond or highest > 2 * beyond:
                    farthest = lowest if lowest < -beyond else highest
                    raise ValueError(f"a polygon reaches {farthest:g}, far outside the picture of {height} x {width}")
        if self.mask_rule == "coco":
            return run_lengths.from_polygons(whole, height, width)
        run_lengths.from_polygons(whole, height, width)  # refuses what cannot be drawn
        canvas = Image.new("1", (width, height))
        for part in whole:
            corners = [(int(x), int(y)) for x, y in zip(part[::2], part[1::2])]
            ImageDraw.Draw(canvas).polygon(corners, outline=1, fill=1)
        return run_lengths.encode(np.asarray(canvas))


def _read_mask(path: str) -> np.ndarray:
    """A mask file as (height, width) bool: an array, or a lossless picture in which anything but black is inside."""
    try:
        if path.endswith(".npy"):
            array = np.load(path, allow_pickle=False)
            if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
                array = array.squeeze(0 if array.shape[0] == 1 else -1)
            if array.ndim != 2:
                raise BadRecord(f"the mask {path!r} must be an array of two dimensions, got shape {array.shape}")
            return array > 0
        if path.lower().endswith(_LOSSY):
            raise BadRecord(f"the mask {path!r} is in a format that smears edges; save it as PNG")
        with Image.open(path) as image:
            if image.mode not in ("1", "L", "I", "I;16", "F"):
                image = image.convert("RGB")
            pixels = np.asarray(image)
        return pixels.any(axis=-1) if pixels.ndim == 3 else pixels > 0
    except FileNotFoundError as error:
        raise BadRecord(f"there is no mask {path!r}") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadRecord(f"the mask {path!r} cannot be read ({str(error).splitlines()[0]})") from error


def _inside(box: tuple[float, float, float, float], size_hw: tuple[int, int]) -> tuple[float, float, float, float]:
    """The box as annotated, if it has to do with the picture."""
    height, width = size_hw
    left, top, right, bottom = box
    beyond = max(height, width)
    if left > width or top > height or right < 0 or bottom < 0 or left < -beyond or top < -beyond:
        raise BadRecord(f"the box {list(box)} lies outside the picture of {height} x {width} pixels")
    if right > 2 * beyond or bottom > 2 * beyond:
        raise BadRecord(f"the box {list(box)} reaches far outside the picture of {height} x {width} pixels")
    return box


def _hull(boxes: list[tuple[float, float, float, float]]) -> list[float]:
    sides = list(zip(*boxes))
    return [min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])]
