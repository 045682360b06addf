# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Generated scenes, rendered once by `datasets` into memory-mapped files, and read as a map-style dataset."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets import Features, NamedSplit, Value, concatenate_datasets
from PIL import Image
from torch.utils.data import Dataset

from .generator import draw_referrals, generate_scene
from .scene import Scene, SceneObject, flip_scene

# Scenes of one file: what a stopped rendering loses at most.
SCENES_PER_FILE = 2000
# Part of a file's fingerprint, so that scenes of another generator or layout are never read.
FORMAT_VERSION = 2
FEATURES = Features(
    image=Value("binary"), instance_map=Value("binary"), size_hw=datasets.List(Value("int32")), objects=Value("string")
)


def resized_size(size_hw: tuple[int, int], canvas_size: int) -> tuple[int, int]:
    """Returns the (height, width) of an image whose long side is scaled to the canvas, rounded as SAM rounds."""
    scale = canvas_size / max(size_hw)
    height, width = (max(1, int(side * scale + 0.5)) for side in size_hw)
    return height, width


def to_canvas(array: np.ndarray, canvas_size: int, resample: Image.Resampling) -> np.ndarray:
    """Resizes an (h, w[, 3]) uint8 array to the canvas and pads it with zeros at the bottom right."""
    height, width = resized_size(array.shape[:2], canvas_size)
    canvas = np.zeros((canvas_size, canvas_size, *array.shape[2:]), dtype=np.uint8)
    if (height, width) != array.shape[:2]:
        array = np.asarray(Image.fromarray(array).resize((width, height), resample))
    canvas[:height, :width] = array
    return canvas


def render_scenes(
    folder: str | Path, *, split: str, num_scenes: int, canvas_size: int, num_workers: int = 1, first_seed: int = 0
) -> datasets.Dataset:
    """
    Opens scenes, after rendering those that are not in a cache folder; what a stopped call finished stays.

    Args:
        folder: Cache folder.
        split: Split of the generator.
        num_scenes: Scenes wanted.
        canvas_size: Side S in pixels of the square that the scenes are fitted to.
        num_workers: Rendering processes.
        first_seed: Seed of the first scene.

    Returns:
        One row per scene: `image`, the bytes of (S, S, 3) RGB; `instance_map`, those of (S, S); `size_hw` before it was
        fitted; `objects`, the fields of each `SceneObject` in JSON, in pixels of that size.
    """
    parts = []
    for first in range(first_seed, first_seed + num_scenes, SCENES_PER_FILE):
        count = min(SCENES_PER_FILE, first_seed + num_scenes - first)
        part = datasets.Dataset.from_generator(
            _render,
            features=FEATURES,
            cache_dir=str(folder),
            # A list is divided among processes.
            gen_kwargs={
                "seeds": list(range(first, first + count)),
                "split": split,
                "canvas_size": canvas_size,
                "version": FORMAT_VERSION,
            },
            num_proc=min(num_workers, count) if num_workers > 1 else None,
            split=NamedSplit(split),
        )
        parts.append(part)
    return concatenate_datasets(parts)


def _render(seeds: list[int], split: str, canvas_size: int, version: int) -> Iterator[dict[str, Any]]:
    for seed in seeds:
        scene = generate_scene(seed, split)
        yield {
            "image": to_canvas(scene.image, canvas_size, Image.Resampling.BILINEAR).tobytes(),
            "instance_map": to_canvas(scene.instance_map, canvas_size, Image.Resampling.NEAREST).tobytes(),
            "size_hw": scene.image.shape[:2],
            "objects": json.dumps([asdict(item) for item in scene.objects], default=np.generic.item),
        }


class SceneDataset(Dataset):
    """
    Rendered scenes with freshly drawn expressions, prompts and augmentation.

    An item is asked for by (epoch, index) and depends on nothing but the seed and that pair.

    Args:
        scenes: What `render_scenes` returned.
        split: Split whose wordings are drawn.
        seed: Seed of the draws.
        expressions_per_image: Expressions of one item; 0 for none.
        prompts_per_image: Clicks and boxes of one item; 0 for none.
        flip_probability: Probability of mirroring.
        photometric_strength: Half-width of random gains and offsets; 0 leaves the colours alone.
    """

    def __init__(
        self,
        scenes: datasets.Dataset,
        *,
        split: str,
        seed: int = 0,
        expressions_per_image: int = 0,
        prompts_per_image: int = 0,
        flip_probability: float = 0.0,
        photometric_strength: float = 0.0,
    ):
        self.scenes, self.split, self.seed = scenes.with_format("arrow"), split, seed  # pixels are not copied
        self.expressions_per_image, self.prompts_per_image = expressions_per_image, prompts_per_image
        self.flip_probability, self.photometric_strength = flip_probability, photometric_strength

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        row = {name: column[0] for name, column in zip(FEATURES, self.scenes[index].columns, strict=True)}
        image, instance_map = (np.frombuffer(row[name].as_buffer(), np.uint8) for name in ("image", "instance_map"))
        canvas_size = round(len(instance_map) ** 0.5)
        image, instance_map = (pixels.reshape(canvas_size, canvas_size, -1) for pixels in (image, instance_map))
        scene = _light_scene(row["size_hw"].as_py(), row["objects"].as_py())
        height, width = resized_size(scene.image.shape[:2], canvas_size)
        if rng.random() < self.flip_probability:
            scene = flip_scene(scene)
            image, instance_map = _mirror(image, width), _mirror(instance_map, width)
        item = {
            "image": image,
            "instance_map": instance_map[..., 0],
            "valid_hw": (height, width),
            "scale": canvas_size / max(scene.image.shape[:2]),
            "scene": scene,
            "key": key,
        }
        item["gain"], item["offset"] = self._photometric(rng)
        if self.expressions_per_image:
            item["referrals"] = draw_referrals(scene, rng, self.expressions_per_image, self.split)
        item["prompt_draw"] = rng.random()
        count = self.expressions_per_image or self.prompts_per_image
        item["pixel_draws"] = rng.random(count)
        item["object_draws"] = rng.permutation(len(scene.objects))
        item["box_noise"] = rng.standard_normal((count, 4)).astype(np.float32)
        return item

    def _photometric(self, rng) -> tuple[np.ndarray, np.ndarray]:
        """Draws gain and offset per channel for pixel values in 0..1: brightness, contrast and a channel cast."""
        strength = self.photometric_strength
        if not strength:
            return np.ones(3, dtype=np.float32), np.zeros(3, dtype=np.float32)
        contrast, brightness = 1 + rng.uniform(-strength, strength, 2)
        cast = 1 + rng.uniform(-strength, strength, 3) / 2
        gain = contrast * brightness * cast
        return gain.astype(np.float32), np.full(3, 0.5 * brightness * (1 - contrast), dtype=np.float32)


def _light_scene(size_hw: list[int], objects: str) -> Scene:
    """Restores a scene's objects at their own size; its pixels are zeros that take no memory."""
    zero = np.zeros((), dtype=np.uint8)
    read = [{name: tuple(v) if isinstance(v, list) else v for name, v in item.items()} for item in json.loads(objects)]
    return Scene(
        image=np.broadcast_to(zero, (*size_hw, 3)),
        instance_map=np.broadcast_to(zero, size_hw),
        objects=tuple(SceneObject(**fields) for fields in read),
    )


def _mirror(array: np.ndarray, width: int) -> np.ndarray:
    """Mirrors the part of a canvas that holds the image and leaves the padding at the right."""
    if width == array.shape[1]:
        return array[:, ::-1]
    mirrored = np.zeros_like(array)
    mirrored[:, :width] = array[:, :width][:, ::-1]
    return mirrored
