# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a run reads: generated scenes, a prepared benchmark or a folder of images and masks, behind one interface."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ..processing.visualization.comparison import PredictionDrawings
from .arguments import DataArguments
from .config_files import Settings
from .data.references import ReferCollator, ReferDataset
from .data.sampler import StepBatchSampler
from .data.small_copies import with_small_copies
from .evaluation.validation import evaluate_references, evaluate_scenes, evaluate_terms, evaluation_batches
from .feature_cache.cache import FeatureCache
from .model_sources import EMBEDDED, find_model
from .rehearsal import REHEARSAL, joined_batches
from .scenes.collator import ReferringCollator, TowerCollator
from .scenes.dataset import SceneDataset, render_scenes
from .splits import open_references


@dataclass
class RunData:
    """Training items with what makes batches of them, and validation items with what measures on them."""

    train_set: Any  # map-style dataset whose items are asked for by (epoch, index)
    collate: Callable  # makes a batch of training items
    eval_set: Any  # the same for validation
    eval_collate: Callable  # makes a batch of validation items
    measure: Callable  # called with (objective, batches, device); returns metrics
    batch_size: int  # items in one process's batch
    num_workers: int  # worker processes of the training loader
    seed: int  # seed of the order
    groups: np.ndarray | None = None  # group of each training item, where items of a group are to follow each other
    draws_predictions: bool = False  # whether `measure` takes `observe` and hands each prediction to it
    name: str = ""  # what the data is, for people
    # Former data; a batch of it joins every training batch, and evaluations measure it too
    rehearsal: "RunData | None" = None
    pad_token_id: int = 0  # id that fills the shorter expressions of joined batches

    def fingerprint(self) -> str | None:
        """Returns what stands for the references that are trained on; None for scenes, which their number makes."""
        return self.train_set.fingerprint() if isinstance(self.train_set, ReferDataset) else None

    def train_batches(self, accelerator, first_batch: int):
        """Returns an endless iterator over this process's training batches from a given one on."""
        sampler = StepBatchSampler(
            num_items=len(self.train_set),
            batch_size=self.batch_size,
            seed=self.seed,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
            first_step=first_batch,
            groups=self.groups,
        )
        loader = DataLoader(
            self.train_set,
            batch_sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=self.collate,
            worker_init_fn=_one_thread,
            pin_memory=accelerator.device.type == "cuda",
            # Of its own, so that the loader does not draw from the numbers that dropout draws from.
            generator=torch.Generator().manual_seed(self.seed),
        )
        if self.rehearsal is None:
            return _batches_of(loader)
        rehearsed = self.rehearsal.train_batches(accelerator, first_batch)
        return joined_batches(_batches_of(loader), rehearsed, self.pad_token_id)

    def evaluate(self, objective, accelerator, num_drawings: int = 0) -> tuple[dict, list]:
        """
        Measures an objective on the validation items, each process its part.

        Returns:
            The metrics by kind, those on former data under "rehearsal", and the first predictions as drawings on the
            main process.
        """
        position = (max(8, 2 * self.batch_size), accelerator.process_index, accelerator.num_processes)
        batches = evaluation_batches(self.eval_set, self.eval_collate, *position)
        drawings = PredictionDrawings(num_drawings if accelerator.is_main_process else 0)
        options = {"observe": drawings} if self.draws_predictions else {}
        result = self.measure(objective, batches, accelerator.device, **options)
        if self.rehearsal is not None:
            former, _ = self.rehearsal.evaluate(objective, accelerator)
            result = result | {REHEARSAL: former["all"]}
        return result, drawings.drawings


def _batches_of(loader: DataLoader) -> Iterator[dict]:
    """Yields batches; what is wrong with an item is told in the words of the worker, without its traceback."""
    try:
        yield from loader
    except ValueError as error:
        raise ValueError(str(error).rpartition("\nValueError: ")[2].strip()) from error


def _one_thread(_worker: int):
    torch.set_num_threads(1)


def open_data(settings: Settings, model, processor, accelerator) -> RunData:
    """
    Opens what the settings name, with what is rehearsed; scenes that are not rendered yet are, on the main process.
    Raises `ValueError` for data that is not there or does not fit the objective.
    """
    opened = _open_one(settings, model, processor, accelerator)
    former = rehearsed_settings(settings)
    if former is not None:
        opened.rehearsal = _open_one(former, model, processor, accelerator)
        pad_token_id = processor.tokenizer.pad_token_id if processor.pad_token_id is None else processor.pad_token_id
        opened.pad_token_id = pad_token_id
    return opened


def rehearsed_settings(settings: Settings) -> Settings | None:
    """
    Returns settings that open what is rehearsed as if it were trained on, `None` where nothing is; raises `ValueError`
    where `rehearsal` names no folder, or the run cannot rehearse.
    """
    data, optimization = settings.data, settings.optimization
    source = data.rehearsal
    if source == "auto":
        embedded = settings.model.init_from is not None and find_model(settings.model.init_from) == str(EMBEDDED)
        source = "scenes" if embedded and data.train_dir is not None and not optimization.box_only else "none"
    if source == "none":
        return None
    if data.uses_scenes or data.feature_cache is not None:
        reason = "feature_cache" if data.feature_cache is not None else "train_dir or dataset"
        given = f"got {data.feature_cache!r}" if data.feature_cache is not None else "got neither"
        needed = "pixels in place of " if data.feature_cache is not None else ""
        raise ValueError(f"rehearsal ({source!r}) needs {needed}{reason}, {given}")
    if source != "scenes" and not Path(source).is_dir():
        raise ValueError(f"rehearsal must be 'scenes', 'none', 'auto' or a folder, got {source!r}")
    custom = source != "scenes" and not any((Path(source) / "data").glob("*-of-*.parquet"))
    former = replace(
        data,
        dataset=source if source != "scenes" and not custom else None,
        train_dir=source if custom else None,
        images_per_device=data.rehearsal_images,
        prompt_probability=0.0,
        **dict.fromkeys(
            ("eval_dataset", "eval_dir", "train_split", "eval_split", "max_train_references", "preparation"), None
        ),
    )
    folder = str(Path(optimization.output_dir) / "rehearsal")
    return settings._replace(data=former, optimization=replace(optimization, output_dir=folder))


def _open_one(settings: Settings, model, processor, accelerator) -> RunData:
    data, optimization = settings.data, settings.optimization
    common = {
        "batch_size": data.images_per_device,
        "num_workers": data.dataloader_workers,
        "seed": optimization.seed,
    }
    if data.uses_scenes:
        train_set, eval_set = build_scene_datasets(accelerator, settings, processor.image_processor.size.longest_edge)
        thresholds = {name: getattr(processor, name) for name in ("mask_threshold", "no_target_threshold")}
        return RunData(
            train_set=train_set,
            collate=build_scene_collator(optimization.objective, model, processor, data),
            eval_set=eval_set,
            eval_collate=build_scene_collator(optimization.objective, model, processor, data, prompts=False),
            measure=evaluate_terms if optimization.objective == "towers" else partial(evaluate_scenes, **thresholds),
            name=f"{len(eval_set)} generated scenes",
            **common,
        )
    if optimization.objective != "referring":
        raise ValueError(f"a prepared benchmark needs the objective 'referring', got {optimization.objective!r}")
    train_rows, eval_rows = open_references(settings, accelerator)
    if data.feature_cache is None:  # which knows the images themselves
        canvas, copies = processor.image_processor, Path(optimization.output_dir) / "prepared" / "small_copies"
        with accelerator.main_process_first():
            if accelerator.is_main_process and optimization.resume is None:
                shutil.rmtree(copies, ignore_errors=True)
            longest_edge = max(canvas.size.longest_edge, canvas.semantic_size or 0)
            train_rows = with_small_copies(train_rows, longest_edge, copies, canvas.resample)
    offset, absent = data.random_semantic_offset, data.absent_fraction
    train_set = ReferDataset(train_rows, seed=optimization.seed, random_offset=offset, absent_fraction=absent)
    options = {"box_only": optimization.box_only, "feature_cache": open_features(data, model, processor)}
    return RunData(
        train_set=train_set,
        collate=ReferCollator(processor, **options),
        eval_set=ReferDataset(eval_rows, every_expression=True),
        eval_collate=ReferCollator(processor, with_truth=True, **options),
        measure=partial(evaluate_references, processor=processor, box_only=optimization.box_only),
        groups=train_set.image_numbers() if data.group_by_image else None,
        draws_predictions=not optimization.box_only,
        name=str(data.train_dir or data.dataset),
        **common,
    )


def open_features(data: DataArguments, model, processor) -> FeatureCache | None:
    """Returns the cached features of the run's images, if any; patches only where every image lies in the middle."""
    if data.feature_cache is None:
        return None
    names = ["image_embeddings"] if data.random_semantic_offset else None
    return FeatureCache.open(data.feature_cache, model=model, processor=processor, names=names)


def build_scene_collator(objective: str, model, processor, data: DataArguments, *, prompts: bool = True):
    """Builds the collator of a stage on scenes; `prompts=False` leaves clicks and boxes out of the referring stage."""
    config, images = model.config, processor.image_processor
    common = {
        "image_mean": images.image_mean,
        "image_std": images.image_std,
        "patch_size": config.sam_config.vision_config.patch_size,
    }
    if objective == "towers":
        return TowerCollator(**common)
    return ReferringCollator(
        tokenize=lambda expressions: dict(processor(text=expressions)),
        mask_size=config.mask_size,
        prompt_probability=data.prompt_probability if prompts else 0.0,
        **common,
    )


def build_scene_datasets(accelerator, settings: Settings, canvas_size: int) -> tuple[SceneDataset, SceneDataset]:
    """Opens the training and validation scenes; those that the cache lacks are rendered, on the main process."""
    data, optimization, scenes = settings.data, settings.optimization, {}
    for split, count in (("train", data.num_train_scenes), ("validation", data.num_eval_scenes)):
        with accelerator.main_process_first():
            scenes[split] = render_scenes(
                data.scene_cache,
                split=split,
                num_scenes=count,
                canvas_size=canvas_size,
                num_workers=data.render_workers,
            )
    referring = optimization.objective == "referring"
    drawn = {
        "expressions_per_image": data.expressions_per_image if referring else 0,
        "prompts_per_image": 0 if referring else data.prompts_per_image,
    }
    train_set = SceneDataset(
        scenes["train"],
        split="train",
        seed=optimization.seed,
        flip_probability=data.flip_probability,
        photometric_strength=data.photometric_strength,
        **drawn,
    )
    return train_set, SceneDataset(scenes["validation"], split="validation", **drawn)
