# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The commands that write folders, each with small inputs, and what must be whole in what they write."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ssp_sam.cli.main import main
from tests.helpers.benchmark import tiny_benchmark, tiny_model_folder
from tests.helpers.collections import image_folder
from tests.helpers.original_checkpoints import save_checkpoint, save_tokenizer
from tests.helpers.raw_benchmarks import refs, write_coco_images, write_refer

# What depends on the clock, or on the name of the folder.
_OF_THE_RUN = {"minutes", "rate", "minutes_left", "waiting", "seconds", "finished", "command", "output_dir", "model"}
_OF_THE_RUN |= {"images_per_second", "expressions_per_second"}


@dataclass(frozen=True)
class Writer:
    """
    A command that writes.

    Args:
        words: Given the folder of the inputs and the folder to write into, the words of the command.
        inputs: Writes the inputs into a folder.
        units: Patterns of what appears whole or not at all, below the folder that is written into.
        before: Given the two folders, the words of a command whose result is there before.
        made_once: Whether a finished one is refused to be made again.
        kills: How often the long checks kill it.
        quick: Whether the short checks try it, too.
    """

    words: Callable[[Path, Path], list]
    inputs: Callable[[Path], object]
    units: tuple[str, ...]
    before: Callable[[Path, Path], list] | None = None
    made_once: bool = False
    kills: int = 20
    quick: bool = False


def _training_inputs(folder: Path):
    tiny_benchmark(folder / "data", num_train=4, num_eval=2)
    tiny_model_folder(folder / "model", single_tower=True)


def _training(inputs: Path, output: Path) -> list:
    settings = {"dataset": inputs / "data", "init_from": inputs / "model", "output_dir": output / "run"}
    settings |= {
        "images_per_device": 2,
        "num_epochs": 2.5,
        "checkpoint_steps": 2,
        "keep_checkpoints": 9,
        "log_steps": 1,
    }
    settings |= {"eval_epochs": 1, "eval_at_start": "true", "max_eval_references": 1, "num_drawings": 1}
    settings |= {"iou_loss_weight": 0, "warmup_steps": 0, "threads_per_process": 1, "resume": "auto"}
    return ["train", *(word for name, value in settings.items() for word in (f"--{name}", value))]


def _raw_inputs(folder: Path):
    content = [{**ref, "ref_id": 10 * turn + ref["ref_id"]} for turn in range(3) for ref in refs()]
    write_refer(folder / "annotations", content=content)
    write_coco_images(folder / "images")


def _preparation(inputs: Path, output: Path, *more: str) -> list:
    words = ["--annotations", inputs / "annotations", "--images", inputs / "images", "--output", output / "out"]
    return ["prepare", "refcoco", *words, "--allow-partial", *more]


def _two_models(folder: Path):
    tiny_model_folder(folder / "old", single_tower=True)
    tiny_model_folder(folder / "new", single_tower=True)


def _export(name: str) -> Callable[[Path, Path], list]:
    return lambda inputs, output: ["export", output / "exported", "--overwrite", "--no-check", "--model", inputs / name]


def _checkpoint(folder: Path):
    folder.mkdir()
    save_checkpoint(folder / "checkpoint.pth")
    save_tokenizer(folder / "tokenizer")


def _conversion(inputs: Path, output: Path) -> list:
    words = ["--checkpoint", inputs / "checkpoint.pth", "--tokenizer", inputs / "tokenizer"]
    return ["convert", *words, "--output", output / "converted"]


def _evaluation(inputs: Path, output: Path) -> list:
    words = ["--data", inputs / "data", "--split", "val", "--model", inputs / "model", "--output", output / "report"]
    return ["evaluate", *words, "--save-predictions", "--overwrite", "--batch-size", "1", "--cases", "1"]


def _cache(inputs: Path, output: Path) -> list:
    return ["cache", "--model", inputs / "model", "--data", inputs / "data", "--output", output / "features"]


def _collection(folder: Path):
    image_folder(folder / "images", 5, with_damaged=True)
    tiny_model_folder(folder / "model", single_tower=True)


def _annotation(inputs: Path, output: Path) -> list:
    words = ["--classes", "car", "dog", "--model", inputs / "model", "--output", output / "out"]
    return ["annotate", inputs / "images", *words, "--shard-size", "3", "--format", "coco", "--cutouts"]


WRITERS = {
    "annotate": Writer(_annotation, _collection, ("out/*/*", "out/*.json", "out/*.png", "out/*.md"), kills=40),
    "train": Writer(_training, _training_inputs, ("run/checkpoint-*", "run/final", "run/drawings/*")),
    "prepare": Writer(_preparation, _raw_inputs, ("out",), made_once=True, kills=45, quick=True),
    "cache": Writer(_cache, _training_inputs, ("features/identity.json", "features/*/*"), kills=40),
    "export": Writer(_export("new"), _two_models, ("exported",), before=_export("old"), kills=35, quick=True),
    "convert": Writer(_conversion, _checkpoint, ("converted",), made_once=True),
    "evaluate": Writer(_evaluation, _training_inputs, ("report/*",)),
}


def run_command(words: list[str]) -> int:
    """`ssp-sam` on words, for `start_processes`."""
    return main(words)


def content(folder: Path) -> dict[str, object]:
    """What lies in a folder, by its paths; of records what does not depend on the clock or on where they lie."""
    return {str(path.relative_to(folder)): _read(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def _read(path: Path) -> object:
    if path.name in ("report.md", "curves.png"):
        return "it tells the time"
    with suppress(ValueError):  # of one that is cut off
        if path.suffix == ".jsonl":
            return [_timeless(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
        if path.suffix == ".json":
            return _timeless(json.loads(path.read_text("utf-8")))
    return path.read_bytes()


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {name: _timeless(part) for name, part in value.items() if name not in _OF_THE_RUN}
    return [_timeless(part) for part in value] if isinstance(value, list) else value
