# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What the pipeline returns for an expression: a dict that knows how to become what other tools read."""

import base64
import importlib
import io
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from .image_inputs import read_rgb
from .mask_windows import MaskImage, MaskWindow


class SegmentationResult(dict):
    """
    What one expression means in an image. A plain dict, whose entries are attributes as well.

    Attributes:
        mask (`PIL.Image.Image`): Mode "L", size of the image, 255 inside and 0 outside; all 0 for no target.
        score (`float`): Probability that the prediction is right.
        box (`dict` or `None`): `xmin`, `ymin`, `xmax`, `ymax` in whole pixels; `None` for no target.
        label (`str`): The expression.
        no_target (`bool`): Whether the expression refers to nothing in the image.
        unknown_words (`list[str]`): Words of the expression that the model does not know.
    """

    mask: Image.Image
    score: float
    box: dict[str, int] | None
    label: str
    no_target: bool
    unknown_words: list[str]

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"a result has {', '.join(self)}, got {name!r}") from None

    def __setattr__(self, name: str, value: Any):
        self[name] = value

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self]

    @property
    def inside(self) -> np.ndarray:
        """The mask as an array, (height, width) bool."""
        return self.window.inside()

    @property
    def window(self) -> MaskWindow:
        """The mask without what lies around it, for which a mask that was not read yet is not read."""
        return getattr(self["mask"], "window", None) or MaskWindow.of(np.asarray(self["mask"]) > 127)

    def to_coco(self, image_id: int = 1, annotation_id: int = 1, category_id: int = 1) -> dict[str, Any]:
        """
        Returns an annotation of COCO, which is an entry of COCO's result files as well.

        Its `segmentation` are uncompressed run lengths, which pycocotools reads, `bbox` is x, y, width and height of
        the mask, `area` its pixels; `score` and `caption`, the expression, come along.
        """
        window = self.window
        left, top, right, bottom = window.bounds() or (0, 0, 0, 0)
        return {
            "id": annotation_id,
            "image_id": image_id,
            "category_id": category_id,
            "segmentation": window.run_lengths(),
            "area": window.area(),
            "bbox": [left, top, right - left, bottom - top],
            "iscrowd": 0,
            "score": self["score"],
            "caption": self["label"],
        }

    def to_supervision(self) -> Any:
        """
        Returns `supervision.Detections` of one row, or of none where the expression refers to nothing.

        `supervision.Detections.merge([result.to_supervision() for result in results])` joins those of an image.

        Raises:
            ImportError: If supervision is not installed.
        """
        supervision = _import("supervision", "to_supervision needs supervision: pip install supervision")
        box = self["mask"].getbbox()
        if box is None:
            return supervision.Detections.empty()
        return supervision.Detections(
            xyxy=np.array([box], np.float32),
            mask=self.inside[None],
            confidence=np.array([self["score"]], np.float32),
            class_id=np.zeros(1, int),
            data={"class_name": np.array([self["label"]])},
        )

    def cutout(self, image: Any, crop: bool = True) -> Image.Image:
        """
        Returns what the expression means on a transparent ground.

        Args:
            image: The image that was segmented, in any form that the pipeline takes.
            crop: Whether to leave out what lies around the mask's bounding box.

        Returns:
            `PIL.Image.Image`: Mode "RGBA"; of one transparent pixel where there is nothing to crop to.

        Raises:
            ValueError: If the image is of another size than the mask.
        """
        cut = self._upright(image).copy()
        cut.putalpha(self["mask"])
        return cut.crop(self["mask"].getbbox() or (0, 0, 1, 1)) if crop else cut

    def plot(self, image: Any = None, style: str = "masks") -> Image.Image:
        """
        Returns a drawing of the mask with the expression and its score.

        Args:
            image: The image that was segmented, in any form that the pipeline takes; black when not given.
            style: "masks", "boxes", "outline" or "cutout", as of `ssp-sam segment --style`.

        Raises:
            ImportError: If ssp-sam is not installed, as beside a model that brings its own code from the Hub.
            ValueError: If the image is of another size than the mask, or there is no such style.
        """
        name = "ssp_sam.processing.visualization.overlay"
        overlay = _import(name, "plot draws with ssp-sam, which is not installed: pip install ssp-sam")
        rgb = Image.new("RGB", self["mask"].size) if image is None else self._upright(image)
        return overlay.draw_overlay(rgb, [self], style=style, legend=False)

    def _upright(self, image: Any) -> Image.Image:
        rgb, _ = read_rgb(image)
        if rgb.size != self["mask"].size:
            raise ValueError(f"expected the image that was segmented, of size {self['mask'].size}, got {rgb.size}")
        return rgb


def as_result(prediction: dict[str, Any], label: str, unknown_words: list[str]) -> SegmentationResult:
    """Turns one of `SspSamProcessor.post_process_referring_segmentation` into what the pipeline returns."""
    mask = prediction["mask"]
    # Not by its class, of which code of the Hub has a copy for each of its parts.
    mask = mask if hasattr(mask, "run_lengths") else MaskWindow.of(mask.cpu().numpy())
    box = prediction["box_xyxy"]
    return SegmentationResult(
        mask=MaskImage(mask),
        score=float(prediction["score"]),
        box=box if box is None else dict(zip(("xmin", "ymin", "xmax", "ymax"), (round(float(v)) for v in box))),
        label=label,
        no_target=bool(prediction["no_target"]),
        unknown_words=unknown_words,
    )


def to_coco(images: Iterable[tuple[str, Sequence[SegmentationResult]]]) -> dict[str, Any]:
    """
    Returns the results of several images as one dataset of COCO.

    Args:
        images: The file name of each image, and its results; at least one, since their masks tell the image's size.

    Returns:
        `images`, `annotations` and `categories`, all numbered from 1; an expression is a category, and what refers to
        nothing has no annotation.
    """
    dataset: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    categories: dict[str, int] = {}
    for image_id, (file_name, results) in enumerate(images, start=1):
        width, height = results[0]["mask"].size
        dataset["images"].append({"id": image_id, "file_name": file_name, "width": width, "height": height})
        for result in results:
            category_id = categories.setdefault(result["label"], len(categories) + 1)
            if not result["no_target"]:
                annotation_id = len(dataset["annotations"]) + 1
                dataset["annotations"].append(result.to_coco(image_id, annotation_id, category_id))
    dataset["categories"] = [{"id": number, "name": name} for name, number in categories.items()]
    return dataset


def to_labelme(file_name: str, results: Sequence[SegmentationResult]) -> dict[str, Any]:
    """
    Returns the results of one image as labelme keeps them, each as a shape of the type "mask".

    Args:
        file_name: Of the image, as seen from the file that this goes into.
        results: At least one, since their masks tell the image's size; what refers to nothing has no shape.
    """
    width, height = results[0]["mask"].size
    shapes = []
    for result in results:
        if result["no_target"]:
            continue
        left, top, right, bottom = result["mask"].getbbox()
        buffer = io.BytesIO()
        result["mask"].crop((left, top, right, bottom)).convert("1").save(buffer, "PNG")
        shape = {"label": result["label"], "shape_type": "mask", "points": [[left, top], [right - 1, bottom - 1]]}
        shape |= {"mask": base64.b64encode(buffer.getvalue()).decode("ascii")}
        shapes.append({**shape, "group_id": None, "flags": {}, "description": f"score {result['score']:.3f}"})
    size = {"imageHeight": height, "imageWidth": width}
    return {"version": "5.5.0", "flags": {}, "shapes": shapes, "imagePath": file_name, "imageData": None, **size}


def _import(name: str, hint: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(hint) from error


__all__ = ["SegmentationResult", "as_result", "to_coco", "to_labelme"]
