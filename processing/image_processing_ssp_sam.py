# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Image processor of SSP-SAM: one image in, the canvas of each image tower out, and the labels of training.

Letters: N images, E expressions, S side of SAM's canvas, s side of the semantic canvas, M side of the mask labels.
"""

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
import torch
from PIL import Image
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import ImageInput, PILImageResampling
from transformers.processing_utils import ImagesKwargs
from transformers.utils.constants import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
)

from ..configuration.hub_fields import without_hub_fields
from .canvas_geometry import CanvasPlacement, centred_offset, fit_segmenter, fit_semantic, shifted_offset
from .image_files import lay_on_white
from .image_inputs import flatten_images, read_rgb
from .training_labels import flatten_labels, make_labels


class SspSamImageProcessorKwargs(ImagesKwargs, total=False):
    r"""
    semantic_size (`int`, *optional*):
        Side s of the semantic canvas. An explicit `None` makes no semantic canvas (single tower).
    semantic_mean (`float` or `list[float]`, *optional*):
        Mean of the semantic canvas.
    semantic_std (`float` or `list[float]`, *optional*):
        Standard deviation of the semantic canvas.
    mask_size (`int`, *optional*):
        Side M of the mask labels.
    random_semantic_offset (`bool`, *optional*):
        Whether the image is laid at a random position on the semantic canvas, the augmentation of training.
    return_pixel_values (`bool`, *optional*):
        `False` leaves SAM's canvas out, for calls that have its image embeddings already.
    """

    semantic_size: int | None
    semantic_mean: float | list[float] | tuple[float, ...] | None
    semantic_std: float | list[float] | tuple[float, ...] | None
    mask_size: int | None
    random_semantic_offset: bool | None
    return_pixel_values: bool | None


class SspSamImageProcessor(PilBackend):
    r"""
    Turns images into the two views SSP-SAM looks at, and masks and boxes into its labels.

    The **SAM canvas** is that of `SamImageProcessor`: long side to `size["longest_edge"]`, normalised, zero padding to
    the right and below. The **semantic canvas**: long side to `semantic_size`, normalised, the image centred on zeros.

    Args:
        size (`dict` or `int`, defaults to `{"longest_edge": 1024}`): Long side of the image on SAM's canvas.
        pad_size (`dict`, *optional*): Size of SAM's canvas; a square of side `longest_edge` when not given.
        semantic_size (`int`, *optional*, defaults to 224): Side of the semantic canvas; `None` for a single tower.
        mask_size (`int`, defaults to 512): Side of the mask labels.
        image_mean, image_std (`list[float]`): Normalisation of SAM's canvas; ImageNet's.
        semantic_mean, semantic_std (`list[float]`): Normalisation of the semantic canvas; CLIP's.
        random_semantic_offset (`bool`, defaults to `False`): Whether training shifts the image on the semantic canvas.
        do_resize, do_rescale, do_normalize (`bool`): Steps of both canvases. `do_pad` is a step of SAM's canvas alone.

    Images become RGB whatever `do_convert_rgb` says, since both towers read three channels; only an `image_mean` of
    four values keeps alpha on SAM's canvas.

    Source: SSP-SAM (arXiv 2603.18086), preprocessing; the SAM canvas as in segment-anything.
    """

    model_input_names = ["pixel_values", "semantic_pixel_values"]
    valid_kwargs = SspSamImageProcessorKwargs

    resample = PILImageResampling.BILINEAR
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size: Any = {"longest_edge": 1024}
    pad_size: Any = None
    default_to_square = False
    do_convert_rgb = True
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_pad = True
    semantic_size = 224
    semantic_mean = OPENAI_CLIP_MEAN
    semantic_std = OPENAI_CLIP_STD
    mask_size = 512
    random_semantic_offset = False

    def __init__(self, **kwargs: Unpack[SspSamImageProcessorKwargs]):
        super().__init__(**kwargs)
        # The base class reads None as "not given"; here it names the single-tower model.
        if "semantic_size" in kwargs and kwargs["semantic_size"] is None:
            self.semantic_size = None

    def preprocess(
        self,
        images: ImageInput,
        segmentation_maps: Any = None,
        boxes: Any = None,
        image_index: Sequence[int] | None = None,
        semantic_offsets: Any = None,
        generator: torch.Generator | None = None,
        **kwargs: Unpack[SspSamImageProcessorKwargs],
    ) -> BatchFeature:
        r"""
        Prepares one image or many.

        Args:
            images: One image or a (nested) list of them: PIL image, array, tensor, path or URL. Float pixels may be in
                0..1 or 0..255. EXIF orientation is applied, transparency is laid on white.
            segmentation_maps (*optional*): What each expression means, (height, width) at image size, bool, 0/1 or
                0/255. For one image a map or several; for N images a list of N such. With `image_index` one flat list
                with E entries. An empty map or `None` says that nothing is meant.
            boxes (*optional*): [x0, y0, x1, y1] in image pixels, nested like the maps, in place of the maps' own boxes.
            image_index (`Sequence[int]`, *optional*): The image of each of E flat maps or boxes.
            semantic_offsets (*optional*): (N, 2) int, the (left, top) of each image on the semantic canvas.
            generator (`torch.Generator`, *optional*): Draws the offsets of `random_semantic_offset`.

        Returns:
            [`BatchFeature`] with
            `pixel_values` (N, 3, S, S) and `semantic_pixel_values` (N, 3, s, s), float32, the former unless
            `return_pixel_values=False`;
            `original_sizes` and `reshaped_input_sizes` (N, 2) int64, height and width of the upright image and of the
            image on SAM's canvas;
            `semantic_offsets` (N, 2) int64, left and top, when they were given or random;
            with maps `mask_labels` (E, M, M) float32 in {0, 1}; with maps or boxes `box_labels` (E, 4) float32,
            (cx, cy, w, h) in fractions of the semantic canvas (of SAM's canvas for a single tower), zeros for no
            target, and `no_target_labels` (E,) float32 in {0, 1}.

        Raises:
            `ValueError`: If an image cannot be read, or a map or box does not fit its image.
        """
        if kwargs.get("size") is not None:
            kwargs.setdefault("pad_size", None)  # follows the size of this call
        return super().preprocess(images, segmentation_maps, boxes, image_index, semantic_offsets, generator, **kwargs)

    def _standardize_kwargs(self, size=None, pad_size=None, **kwargs) -> dict:
        size = {"longest_edge": size} if isinstance(size, int) else size
        if size is not None and not (hasattr(size, "get") and size.get("longest_edge")):
            raise ValueError(f"size must be {{'longest_edge': pixels}}, got {size}")
        if pad_size is None and size is not None:
            pad_size = {"height": size["longest_edge"], "width": size["longest_edge"]}
        return super()._standardize_kwargs(size=size, pad_size=pad_size, **kwargs)

    def _preprocess_image_like_inputs(
        self,
        images,
        segmentation_maps,
        boxes,
        image_index,
        semantic_offsets,
        generator,
        *,
        size: Any,
        pad_size: Any,
        semantic_size,
        random_semantic_offset,
        mask_size,
        return_tensors,
        return_pixel_values=True,
        **steps: Any,
    ) -> BatchFeature:
        # 1. Upright RGB images, and the factors of their pixels.
        keep_alpha = np.size(steps["image_mean"]) == 4
        read = [read_rgb(image, steps["input_data_format"], keep_alpha) for image in flatten_images(images)]
        if not read:
            raise ValueError("expected at least one image, got an empty list")
        images = [image for image, _ in read]
        scales = [steps["rescale_factor"] if steps["do_rescale"] else (1 / 255 if unit else 1.0) for _, unit in read]
        sizes_hw = [(image.height, image.width) for image in images]

        # 2. SAM's canvas.
        do_resize = steps["do_resize"]
        reshaped = [fit_segmenter(size_hw, size.longest_edge) if do_resize else size_hw for size_hw in sizes_hw]
        canvas_hw = (pad_size.height, pad_size.width)
        corners = [(0, 0)] * len(images)
        placements = [CanvasPlacement.of(*sizes, (0, 0), canvas_hw) for sizes in zip(sizes_hw, reshaped, strict=True)]
        data: dict[str, Any] = {}
        if return_pixel_values is not False:
            padded_hw = canvas_hw if steps["do_pad"] else None
            data["pixel_values"] = _paint_all(images, reshaped, padded_hw, corners, scales, "image", steps)

        # 3. The semantic canvas.
        if semantic_size is not None:
            resized = [fit_semantic(size_hw, semantic_size) if do_resize else size_hw for size_hw in sizes_hw]
            offsets = _offsets(resized, semantic_size, semantic_offsets, random_semantic_offset, generator)
            square_hw = (semantic_size, semantic_size)
            opaque = [lay_on_white(image) for image in images]
            data["semantic_pixel_values"] = _paint_all(opaque, resized, square_hw, offsets, scales, "semantic", steps)
            placed = zip(sizes_hw, resized, offsets, strict=True)
            placements = [CanvasPlacement.of(*sizes_and_offset, square_hw) for sizes_and_offset in placed]
            if semantic_offsets is not None or random_semantic_offset:
                data["semantic_offsets"] = np.array(offsets, dtype=np.int64)
        data["original_sizes"] = np.array(sizes_hw, dtype=np.int64)
        data["reshaped_input_sizes"] = np.array(reshaped, dtype=np.int64)

        # 4. Labels.
        if segmentation_maps is not None or boxes is not None:
            if image_index is None:
                segmentation_maps, boxes, image_index = flatten_labels(segmentation_maps, boxes, len(images))
            labels = (segmentation_maps, boxes, image_index)
            data.update(make_labels(*labels, sizes_hw, reshaped, placements, canvas_hw, mask_size))
        return BatchFeature(data=data, tensor_type=return_tensors)

    def to_dict(self) -> dict[str, Any]:
        """Returns all settings as plain values, without those that only hold for the repository they came from."""
        return without_hub_fields(super().to_dict())

    def _get_preprocess_shape(self, old_shape: tuple[int, int], longest_edge: int) -> tuple[int, int]:
        """Returns the (height, width) of an image on SAM's canvas, under the name that SAM's tools look for."""
        return fit_segmenter(old_shape, longest_edge)

    def box_placement(self, size_hw: tuple[int, int], semantic_offset: Any = None) -> CanvasPlacement:
        """Returns where an image of `size_hw` lies on the canvas its boxes are normalised to.

        Args:
            size_hw (`tuple[int, int]`): Height and width of the upright image.
            semantic_offset (*optional*): (left, top) on the semantic canvas where it is not centred.
        """
        if self.semantic_size is None:
            resized_hw = fit_segmenter(size_hw, self.size.longest_edge)
            return CanvasPlacement.of(size_hw, resized_hw, (0, 0), (self.pad_size.height, self.pad_size.width))
        side = self.semantic_size
        resized_hw = fit_semantic(size_hw, side)
        if semantic_offset is None:
            semantic_offset = centred_offset(resized_hw, side)
        left, top = (int(value) for value in semantic_offset)
        return CanvasPlacement.of(size_hw, resized_hw, (left, top), (side, side))


def _paint_all(images, resized, canvas_hw, offsets, scales, name: str, steps: dict[str, Any]) -> Any:
    # One array, or a list of them where `canvas_hw` is None and sizes differ.
    mean, std = (steps[f"{name}_mean"], steps[f"{name}_std"]) if steps["do_normalize"] else (0.0, 1.0)
    canvases = [
        _paint(image, resized_hw, canvas_hw or resized_hw, offset, scale, mean, std, steps["resample"])
        for image, resized_hw, offset, scale in zip(images, resized, offsets, scales, strict=True)
    ]
    same_shape = all(canvas.shape == canvases[0].shape for canvas in canvases)
    return np.stack(canvases) if same_shape else canvases


def _paint(image: Image.Image, resized_hw, canvas_hw, offset, scale, mean, std, resample) -> np.ndarray:
    # Padding comes after normalisation, so it is exactly zero.
    height, width = resized_hw
    left, top = offset
    if left + width > canvas_hw[1] or top + height > canvas_hw[0]:
        raise ValueError(
            f"an image of height {height} and width {width} does not fit a canvas of {canvas_hw[0]} x {canvas_hw[1]}; "
            f"enlarge the canvas or let do_resize be True"
        )
    if image.size != (width, height):
        image = image.resize((width, height), resample=resample)
    std = np.asarray(std, dtype=np.float64)
    pixels = np.asarray(image, dtype=np.float32) * (scale / std).astype(np.float32)
    pixels -= (np.asarray(mean, dtype=np.float64) / std).astype(np.float32)
    canvas = np.zeros((pixels.shape[2], *canvas_hw), dtype=np.float32)
    canvas[:, top : top + height, left : left + width] = pixels.transpose(2, 0, 1)
    return canvas


def _offsets(resized_hw, side, given, random, generator) -> list[tuple[int, int]]:
    if given is not None:
        shifts = [(int(left), int(top)) for left, top in given]
        if len(shifts) != len(resized_hw):
            raise ValueError(f"expected one semantic offset per image, got {len(shifts)} for {len(resized_hw)} images")
        for (left, top), (height, width) in zip(shifts, resized_hw, strict=True):
            if not (0 <= left <= side - width and 0 <= top <= side - height):
                raise ValueError(
                    f"semantic offset (left, top) = {(left, top)} moves an image of width {width} and height {height} "
                    f"off the canvas of side {side}"
                )
        return shifts
    if random:
        draws = torch.rand(len(resized_hw), 2, generator=generator).tolist()
        return [shifted_offset(size_hw, side, draw) for size_hw, draw in zip(resized_hw, draws, strict=True)]
    return [centred_offset(size_hw, side) for size_hw in resized_hw]


__all__ = ["SspSamImageProcessor"]
