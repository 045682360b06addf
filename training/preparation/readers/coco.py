# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The objects that references point to: annotation files in the style of COCO."""

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .records import BadRecord, PreparationError, RawObject, box_from_xywh, take
from .streamed_json import stream_items


@dataclass
class CocoInstances:
    """
    Images, annotations and categories of one file, by id.

    Args:
        origin: Name of the file.
        extra: The file's other members, such as `references`.
    """

    origin: str
    images: dict[Any, dict] = field(default_factory=dict)
    annotations: dict[Any, dict] = field(default_factory=dict)
    categories: dict[Any, str] = field(default_factory=dict)
    licences: dict[Any, str] = field(default_factory=dict)
    extra: dict[str, list] = field(default_factory=dict)

    def image(self, image_id: Any) -> dict:
        """Returns an image's record; raises `BadRecord` where there is none."""
        return self._known(self.images, image_id, "image")

    def size_hw(self, image_id: Any) -> tuple[int, int] | None:
        """Returns height and width of an image as the file says, where it does."""
        image = self.image(image_id)
        if image.get("height") is None or image.get("width") is None:
            return None
        return take(image, "height", int, "a whole number"), take(image, "width", int, "a whole number")

    def object(self, ann_id: Any, image_id: Any) -> RawObject:
        """Returns an annotated object; raises `BadRecord` where there is none or it belongs to another image."""
        annotation = self._known(self.annotations, ann_id, "annotation")
        if annotation.get("image_id", image_id) != image_id:
            raise BadRecord(
                f"annotation {ann_id!r} belongs to image {annotation['image_id']!r}, the reference to {image_id!r}"
            )
        box = annotation.get("bbox")
        segmentation = annotation.get("segmentation")
        if not segmentation:
            raise BadRecord(f"annotation {ann_id!r} has no segmentation")
        return RawObject(
            ann_id=str(ann_id),
            segmentation=segmentation,
            box_xyxy=box_from_xywh(box) if box is not None else None,
            is_crowd=bool(annotation.get("iscrowd", 0)),
        )

    def category_names(self, ann_ids: list[Any]) -> str:
        """Returns the names of the objects' categories, each once, joined by ", "."""
        ids = [self._known(self.annotations, ann_id, "annotation").get("category_id") for ann_id in ann_ids]
        return ", ".join(dict.fromkeys(self.categories[number] for number in ids if number in self.categories))

    def licence(self, image_id: Any, of_annotations: str) -> str:
        """Returns the licences of an image and of the annotations as far as they are known."""
        of_picture = self.licences.get(self.image(image_id).get("license"), "unknown")
        if of_picture == of_annotations == "unknown":
            return "unknown"
        return f"picture: {of_picture}; annotations: {of_annotations}"

    def _known(self, records: dict[Any, dict], number: Any, kind: str) -> dict:
        if isinstance(number, list | dict) or number not in records:
            raise BadRecord(f"{self.origin} has no {kind} {number!r}")
        return records[number]


def read_instances(path: Path, annotation_ids: Collection[Any] | None = None) -> CocoInstances:
    """
    Reads a file in the style of COCO; of its annotations only those that are needed are kept.

    Args:
        path: The file.
        annotation_ids: Ids of the annotations needed; all of them when not given.

    Raises:
        PreparationError: The file is damaged or no such file.
    """
    instances = CocoInstances(origin=path.name)
    keep = {"images": instances.images, "annotations": instances.annotations}
    try:
        for number, (key, record) in enumerate(stream_items(path)):
            with_id = isinstance(record, dict) and isinstance(record.get("id"), int | str)
            if not with_id and (key in keep or key in ("categories", "licenses")):
                raise PreparationError(f"{str(path)!r}: record {number} of {key!r} has no id")
            if key == "annotations" and annotation_ids is not None and record["id"] not in annotation_ids:
                continue
            if key in keep:
                keep[key][record["id"]] = record
            elif key == "categories":
                instances.categories[record["id"]] = str(record.get("name", ""))
            elif key == "licenses":
                instances.licences[record["id"]] = str(record.get("name") or record.get("url") or "unknown")
            elif key != "info":
                instances.extra.setdefault(str(key), []).append(record)
    except PreparationError:
        raise
    except ValueError as error:
        raise PreparationError(str(error)) from error
    missing = [key for key, records in keep.items() if not records and (annotation_ids is None or annotation_ids)]
    if missing:
        raise PreparationError(f"{str(path)!r} is no annotation file in the style of COCO: it has no {missing[0]!r}")
    return instances
