# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Generated scenes, rendered once into memory-mapped arrays and read as a map-style dataset."""

import json
import multiprocessing
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from .generator import draw_referrals, generate_scene
from .scene import Scene, SceneObject, flip_scene

CHUNK_SIZE = 500
# Part of the cache folder's name, so that arrays of another layout are never read.
FORMAT_VERSION = 1


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


def _chunk_paths(folder: Path, chunk: int) -> dict[str, Path]:
    stems = {"images": ".npy", "maps": ".npy", "objects": ".jsonl"}
    return {stem: folder / f"{stem}_{chunk:05d}{suffix}" for stem, suffix in stems.items()}


def _rendered(folder: Path, chunk: int) -> int:
    """Returns how many scenes of a chunk are there; the arrays are complete when the records are."""
    paths = _chunk_paths(folder, chunk)
    if not all(path.exists() for path in paths.values()):
        return 0
    return len(np.load(paths["maps"], mmap_mode="r"))


def _render_chunk(job: tuple[Path, str, int, int, int, int]) -> int:
    """Renders scenes `chunk * CHUNK_SIZE + i`, written aside before they get their names; the records come last."""
    folder, split, chunk, count, canvas_size, first_seed = job
    images = np.zeros((count, canvas_size, canvas_size, 3), dtype=np.uint8)
    maps = np.zeros((count, canvas_size, canvas_size), dtype=np.uint8)
    records = []
    for place in range(count):
        scene = generate_scene(first_seed + chunk * CHUNK_SIZE + place, split)
        images[place] = to_canvas(scene.image, canvas_size, Image.Resampling.BILINEAR)
        maps[place] = to_canvas(scene.instance_map, canvas_size, Image.Resampling.NEAREST)
        objects = [asdict(item) for item in scene.objects]
        records.append(json.dumps({"size_hw": scene.image.shape[:2], "objects": objects}, default=_plain))
    paths = _chunk_paths(folder, chunk)
    for name, content in (("images", images), ("maps", maps), ("objects", "\n".join(records) + "\n")):
        aside = paths[name].with_name(f".{paths[name].name}.{os.getpid()}")
        with open(aside, "wb") as stream:
            stream.write(content.encode()) if isinstance(content, str) else np.save(stream, content)
        os.replace(aside, paths[name])
    return chunk


def _plain(value):
    """Turns numpy scalars and arrays into what JSON knows."""
    return value.tolist()


def render_scenes(
    folder: str | Path,
    *,
    split: str,
    num_scenes: int,
    canvas_size: int,
    num_workers: int = 1,
    first_seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """
    Renders the scenes that a cache folder lacks; finished chunks are kept, so that an interrupted call can be repeated.

    Args:
        folder: Cache folder; the split gets a subfolder named after itself, the canvas and the first seed.
        split: Split of the generator.
        num_scenes: Scenes wanted.
        canvas_size: Side in pixels of the square that the scenes are fitted to.
        num_workers: Rendering processes.
        first_seed: Seed of the first scene.
        progress: Called with (chunks done, chunks in all) after each chunk.

    Returns:
        The split's folder.
    """
    folder = Path(folder) / f"{split}_{canvas_size}_{first_seed}_v{FORMAT_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    num_chunks = -(-num_scenes // CHUNK_SIZE)
    wanted = [min(CHUNK_SIZE, num_scenes - chunk * CHUNK_SIZE) for chunk in range(num_chunks)]
    missing = [chunk for chunk in range(num_chunks) if _rendered(folder, chunk) < wanted[chunk]]
    jobs = [(folder, split, chunk, wanted[chunk], canvas_size, first_seed) for chunk in missing]
    done = num_chunks - len(missing)
    if num_workers > 1 and len(jobs) > 1:
        with multiprocessing.get_context("spawn").Pool(min(num_workers, len(jobs))) as pool:
            for _ in pool.imap_unordered(_render_chunk, jobs):
                done += 1
                progress(done, num_chunks)
    else:
        for job in jobs:
            _render_chunk(job)
            done += 1
            progress(done, num_chunks)
    return folder


class SceneDataset(Dataset):
    """
    Rendered scenes with freshly drawn expressions, prompts and augmentation.

    An item is asked for by (epoch, index) and depends on nothing but the seed and that pair.

    Args:
        folder: What `render_scenes` returned.
        split: Split whose wordings are drawn.
        num_scenes: Scenes used, from the first.
        seed: Seed of the draws.
        expressions_per_image: Expressions of one item; 0 for none.
        prompts_per_image: Clicks and boxes of one item; 0 for none.
        flip_probability: Probability of mirroring.
        photometric_strength: Half-width of random gains and offsets; 0 leaves the colours alone.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        split: str,
        num_scenes: int,
        seed: int = 0,
        expressions_per_image: int = 0,
        prompts_per_image: int = 0,
        flip_probability: float = 0.0,
        photometric_strength: float = 0.0,
    ):
        self.split, self.num_scenes, self.seed = split, num_scenes, seed
        self.expressions_per_image, self.prompts_per_image = expressions_per_image, prompts_per_image
        self.flip_probability, self.photometric_strength = flip_probability, photometric_strength
        self._images, self._maps, self._records = [], [], []
        for chunk in range(-(-num_scenes // CHUNK_SIZE)):
            paths = _chunk_paths(Path(folder), chunk)
            self._images.append(np.load(paths["images"], mmap_mode="r"))
            self._maps.append(np.load(paths["maps"], mmap_mode="r"))
            self._records += paths["objects"].read_bytes().splitlines()

    def __len__(self) -> int:
        return self.num_scenes

    @property
    def canvas_size(self) -> int:
        """Side of the square images in pixels."""
        return self._images[0].shape[1]

    def __getitem__(self, key: tuple[int, int]) -> dict:
        epoch, index = key
        rng = np.random.default_rng((self.seed, epoch, index))
        chunk, place = divmod(index, CHUNK_SIZE)
        image, instance_map = self._images[chunk][place], self._maps[chunk][place]
        scene = self._light_scene(index)
        height, width = resized_size(scene.image.shape[:2], self.canvas_size)
        if rng.random() < self.flip_probability:
            scene = flip_scene(scene)
            image, instance_map = _mirror(image, width), _mirror(instance_map, width)
        item = {
            "image": image,
            "instance_map": instance_map,
            "valid_hw": (height, width),
            "scale": self.canvas_size / max(scene.image.shape[:2]),
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

    def _light_scene(self, index: int) -> Scene:
        """Restores a scene's objects at their own size; its pixels are zeros that take no memory."""
        record = json.loads(self._records[index])
        size = tuple(record["size_hw"])
        zero = np.zeros((), dtype=np.uint8)
        return Scene(
            image=np.broadcast_to(zero, (*size, 3)),
            instance_map=np.broadcast_to(zero, size),
            objects=tuple(_read_object(item) for item in record["objects"]),
        )

    def _photometric(self, rng) -> tuple[np.ndarray, np.ndarray]:
        """Draws gain and offset per channel for pixel values in 0..1: brightness, contrast and a channel cast."""
        strength = self.photometric_strength
        if not strength:
            return np.ones(3, dtype=np.float32), np.zeros(3, dtype=np.float32)
        contrast, brightness = 1 + rng.uniform(-strength, strength, 2)
        cast = 1 + rng.uniform(-strength, strength, 3) / 2
        gain = contrast * brightness * cast
        return gain.astype(np.float32), np.full(3, 0.5 * brightness * (1 - contrast), dtype=np.float32)


def _read_object(record: dict[str, Any]) -> SceneObject:
    values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}
    return SceneObject(**values)


def _mirror(array: np.ndarray, width: int) -> np.ndarray:
    """Mirrors the part of a canvas that holds the image and leaves the padding at the right."""
    if width == array.shape[1]:
        return array[:, ::-1]
    mirrored = np.zeros_like(array)
    mirrored[:, :width] = array[:, :width][:, ::-1]
    return mirrored
