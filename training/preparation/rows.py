# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Makes rows of a prepared benchmark from references as they were annotated: draws masks, checks them and images."""

import functools
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from ..data import masks as run_lengths
from .plausibility import TOUCHES_BORDER, looks_like_corners, suspicions, touches_border
from .readers.images import (
    TURNED_SIDEWAYS,
    ImageContent,
    ImageFolder,
    check_content,
    read_header,
    without_orientation,
)
from .readers.mask_files import mask_name, read_mask_file
from .readers.records import BadRecord, RawObject, RawReference, as_list, shortened, with_words

Box = tuple[float, float, float, float]


@dataclass
class RowMaker:
    """Makes rows."""

    folder: ImageFolder | None  # folder of images, None where references hold their images
    image_bytes: bool = False  # whether rows hold the images themselves rather than their paths
    # How polygons are drawn: `"coco"` as pycocotools does, `"phrasecut"` as PhraseCut's own evaluator does, on whole
    # pixels and with the outline
    mask_rule: str = "coco"
    decode_check: bool = True  # whether every image is decoded, so that a damaged one is found now and not in training
    notes: Counter = field(default_factory=Counter)  # what was put right or looks odd, counted
    suspicious: dict[str, list[str]] = field(default_factory=dict)  # reasons why a label may be wrong, by reference
    # Digests of the images' files by their ids, "" where they were not decoded
    images: dict[str, str] = field(default_factory=dict)

    def start_part(self):
        """Forgets what was counted."""
        self.notes, self.suspicious, self.images = Counter(), {}, {}

    def row(self, raw: RawReference) -> dict[str, Any]:
        """
        Returns the row, with the columns of `data.prepared.FEATURES`; raises `BadRecord`, which says what is wrong.
        """
        # 1. The words.
        expressions = with_words(raw.expressions)
        self.notes["empty_expressions"] += len(raw.expressions) - len(expressions)
        _check_text(raw)
        # 2. The image, by its own header.
        image = self._find(raw)
        content = self._check(image)
        files = [
            read_mask_file(item.mask_file, item.mask_values, item.any_value) if item.mask_file else None
            for item in raw.objects
        ]
        drawn = next(((mask.shape, item.mask_file) for mask, item in zip(files, raw.objects) if mask is not None), None)
        annotated, source = (raw.size_hw, "the annotation says") if raw.size_hw else (None, "")
        if annotated is None and drawn is not None:
            annotated, source = drawn[0], f"its mask {mask_name(drawn[1])} has"
        stored, size_hw = self._image(image, annotated, raw, source)
        # 3. What is meant.
        masks, boxes = [], []
        for item, file in zip(raw.objects, files):
            if not raw.boxes_only:
                masks.append(self._mask(item, file, size_hw))
            if item.box_xyxy is not None:
                drawn = masks[-1] if item.segmentation is not None and masks else None
                boxes.append(_checked_box(item.box_xyxy, drawn, size_hw))
        objects, hulls = raw.objects, [hull for hull in map(run_lengths.bounding_box, masks) if hull is not None]
        if masks and not hulls and raw.empty_is_no_target:
            objects, masks, boxes = [], [], []
        boxes = boxes or hulls
        if objects and not boxes:
            raise BadRecord("the target has neither a box nor a pixel")
        self.notes["crowd_regions"] += sum(item.is_crowd for item in objects)
        row = {
            "image": stored,
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
        # 4. Whether that can be right.
        self.images.setdefault(raw.image_id, content.digest)
        reasons = suspicions(row, content.is_dark)
        if reasons:
            self.suspicious[raw.ref_id] = reasons
        self.notes[TOUCHES_BORDER] += touches_border(row)
        return row

    def _find(self, raw: RawReference) -> Path | bytes:
        if raw.image_bytes is not None:
            return raw.image_bytes
        if self.folder is None:
            raise BadRecord("the annotation holds no image, and no folder of images is given")
        return self.folder.find(raw.images)

    def _check(self, image: Path | bytes) -> ImageContent:
        if not self.decode_check:
            return ImageContent("", False)
        return check_content(image) if isinstance(image, bytes) else _check_file(image, image.stat().st_mtime_ns)

    def _image(
        self, image: Path | bytes, annotated: Any, raw: RawReference, source: str
    ) -> tuple[dict, tuple[int, int]]:
        """The `image` column, and the size of what it shows; turned images are shown as their masks are drawn."""
        height, width, orientation = read_header(image)
        stored, shown = (height, width), ((width, height) if orientation in TURNED_SIDEWAYS else (height, width))
        if annotated is not None and tuple(annotated) not in (stored, shown):
            raise BadRecord(
                f"the image has {height} x {width} pixels (height x width), {source} {annotated[0]} x {annotated[1]}"
            )
        name = raw.images[0].rsplit("/", 1)[-1] if raw.images else raw.image_id
        by_stored = stored != shown and annotated is not None and tuple(annotated) == stored
        by_shown = stored != shown and annotated is not None and not by_stored
        if orientation != 1 and (by_stored or (not by_shown and not raw.upright)):
            self.notes["images_shown_as_stored"] += 1
            data = image if isinstance(image, bytes) else image.read_bytes()
            return {"bytes": without_orientation(data), "path": name}, stored
        if isinstance(image, bytes):
            return {"bytes": image, "path": name}, shown
        if self.image_bytes:
            return {"bytes": image.read_bytes(), "path": image.name}, shown
        return {"bytes": None, "path": str(image.resolve())}, shown

    def _mask(self, item: RawObject, file: np.ndarray | None, size_hw: tuple[int, int]) -> dict[str, Any]:
        try:
            if file is not None:
                if file.shape != size_hw:
                    raise BadRecord(f"mask {mask_name(item.mask_file)} has {file.shape} pixels, its image {size_hw}")
                return run_lengths.encode(file)
            return self._from_segmentation(item.segmentation, *size_hw)
        except ValueError as error:
            raise BadRecord(f"annotation {item.ann_id}: {error}") from error

    def _from_segmentation(self, segmentation: Any, height: int, width: int) -> dict[str, Any]:
        parts = as_list(segmentation)
        if parts and all(isinstance(value, int | float) for value in parts):  # one polygon that is in no list
            parts = [parts]
        if not parts:
            raise ValueError(f"expected polygons or run lengths, got {segmentation!r}")
        if all(isinstance(part, dict) for part in parts):
            mask = run_lengths.union(parts)
            if mask["size"] != [height, width]:
                raise ValueError(f"its mask has size {mask['size']}, the image {[height, width]}")
            return mask
        return self._from_polygons(parts, height, width)

    def _from_polygons(self, polygons: list[Any], height: int, width: int) -> dict[str, Any]:
        whole = [part for part in polygons if not (isinstance(part, list) and len(part) in (2, 4))]
        self.notes["polygons_without_area"] += len(polygons) - len(whole)
        if not whole:
            raise ValueError(f"no polygon has three corners, got {shortened(polygons)}")
        _check_range([value for part in whole if isinstance(part, list) for value in part], height, width)
        drawn = run_lengths.from_polygons(whole, height, width)  # refuses what cannot be drawn
        if self.mask_rule == "coco":
            return drawn
        canvas = Image.new("1", (width, height))
        for part in whole:
            corners = [(int(x), int(y)) for x, y in zip(part[::2], part[1::2])]
            ImageDraw.Draw(canvas).polygon(corners, outline=1, fill=1)
        return run_lengths.encode(np.asarray(canvas))


@functools.lru_cache(maxsize=4096)  # several references are in one image; one that was changed is read again
def _check_file(image: Path, _changed: int) -> ImageContent:
    return check_content(image)


def _check_text(raw: RawReference):
    """Raises where a text cannot be written: half characters, which only damaged files have."""
    for text in (raw.image_id, raw.ref_id, raw.category, raw.licence, *(item.ann_id for item in raw.objects)):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadRecord(f"{text!r} is no valid Unicode") from error


def _check_range(numbers: list[Any], height: int, width: int):
    """Raises for coordinates that are no pixels of this image."""
    if not numbers or not all(isinstance(value, int | float) for value in numbers):
        return  # what is no number is named where it is drawn
    lowest, highest, beyond = min(numbers), max(numbers), max(height, width)
    if lowest < -beyond or highest > 2 * beyond:
        farthest = lowest if lowest < -beyond else highest
        raise ValueError(f"it reaches {shortened(farthest)}, far outside the image of {height} x {width}")
    if lowest >= 0 and highest <= 1 < beyond and any(value % 1 for value in numbers):
        raise ValueError(
            f"its coordinates lie between {lowest:g} and {highest:g}: fractions of the image? "
            f"Multiply x by {width} and y by {height}, the image's width and height"
        )


def _checked_box(box: Box, drawn: dict[str, Any] | None, size_hw: tuple[int, int]) -> Box:
    """The box of an object, if it can be one in the image and around what was drawn."""
    (height, width), (left, top, right, bottom) = size_hw, box
    beyond = max(height, width)
    if left > width or top > height or right < 0 or bottom < 0 or left < -beyond or top < -beyond:
        raise BadRecord(f"the box {list(box)} lies outside the image of {height} x {width} pixels")
    if right > 2 * beyond or bottom > 2 * beyond:
        raise BadRecord(f"the box {list(box)} reaches far outside the image of {height} x {width} pixels")
    try:
        _check_range(list(box), height, width)
    except ValueError as error:
        raise BadRecord(f"the box {list(box)}: {error}") from error
    hull = run_lengths.bounding_box(drawn) if drawn is not None else None
    if hull is not None and looks_like_corners(box, hull):
        raise BadRecord(
            f"the box [{left:g}, {top:g}, {right - left:g}, {bottom - top:g}] fits its mask only as left, top, right, "
            f"bottom; boxes of this format are left, top, width, height"
        )
    return box


def _hull(boxes: list[Box]) -> list[float]:
    sides = list(zip(*boxes))
    return [min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3])]
