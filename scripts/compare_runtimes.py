# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Runs a model in lower precisions and on ONNX Runtime, and prints how its predictions differ from float32 on torch.

    python scripts/compare_runtimes.py
    python scripts/compare_runtimes.py outputs/embedded/final --runtimes float32 bfloat16 int8 --num-scenes 1000

Generated scenes go through all runtimes in turn, 20 at a time and from image to mask, so that other work slows all of
them alike; times are those of the process on one thread of a CPU, and the median over scenes is compared.
Masks are compared after thresholds and the decision "nothing found", at image size; two empty masks have an IoU of 1.
Exits with 1 where a runtime falls below what this library promises of its embedded checkpoint.
"""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from transformers import TorchAoConfig
from transformers.utils import logging

from ssp_sam import EMBEDDED_CHECKPOINT, ReferringSegmentationPipeline, SspSamModel, SspSamProcessor
from ssp_sam.deployment.onnx_export import export_onnx
from ssp_sam.deployment.segment_onnx import OnnxSegmenter
from ssp_sam.training.evaluation.metrics import mask_areas, score_areas
from ssp_sam.training.evaluation.run import predict_image
from ssp_sam.training.evaluation.samples import SceneSamples
from ssp_sam.training.scenes.generator import SPLITS

# The first is what the others are compared with.
RUNTIMES = ("float32", "bfloat16", "float16", "autocast bfloat16", "int8", "onnx float32", "onnx float16")
# One runtime goes through so many scenes before the next has its turn, so that it finds its weights in the caches.
SCENES_IN_TURN = 20
# The least mean IoU, the least IoU of any mask, and the largest fraction of changed verdicts.
PROMISED = {
    "bfloat16": (0.98, 0.0, 1.0),
    "int8": (0.95, 0.0, 1.0),
    "onnx float32": (0.999, 0.999, 0.0),
    "onnx float16": (0.95, 0.95, 0.0),
}
Runtime = Callable[[Any, list[str]], list[dict[str, Any]]]


def torch_runtime(source: str, precision: str, device: str, folder: Path) -> Runtime:
    """Returns what predicts an image's expressions by the pipeline; its weights are left in a folder."""
    options: dict[str, Any] = {"dtype": torch.float32}
    if precision == "int8":
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig

        options["quantization_config"] = TorchAoConfig(Int8DynamicActivationInt8WeightConfig())
    model = SspSamModel.from_pretrained(source, **options)
    context: Any = contextlib.nullcontext()
    if precision.startswith("autocast"):
        context = torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    elif precision != "int8":
        # Stored in half precision perhaps: what all precisions start from is the same float32 model.
        model = model.to(getattr(torch, precision))
    model.save_pretrained(folder)
    processor = SspSamProcessor.from_pretrained(source)
    segmenter = ReferringSegmentationPipeline(model=model, processor=processor, device=device, dtype=model.dtype)

    def predict(image, expressions: list[str]) -> list[dict[str, Any]]:
        with context:
            predictions = [raw.read() for raw in predict_image(segmenter, image, expressions)]
        return [{**prediction, "mask": prediction["mask"].cpu().numpy()} for prediction in predictions]

    return predict


def onnx_runtime(source: str, precision: str, folder: Path) -> Runtime:
    """Returns what predicts an image's expressions by the exported graphs on one thread."""
    model = SspSamModel.from_pretrained(source, dtype=torch.float32).eval()
    export_onnx(model, SspSamProcessor.from_pretrained(source), folder, getattr(torch, precision))
    return OnnxSegmenter(folder, num_threads=1)


def compare(runtimes: dict[str, Runtime], scenes: SceneSamples, device: str = "cpu") -> dict[str, dict[str, float]]:
    """
    Runs all runtimes over the scenes, and compares each with the first.

    Returns:
        By runtime: `mean_iou` and `lowest_iou` of masks, `equal_masks` and `changed_verdicts` as fractions of the
        expressions, `score_difference` and `box_difference` (pixels), the largest, and `milliseconds` per scene, the
        median.
    """
    predictions: dict[str, list[dict[str, Any]]] = {name: [] for name in runtimes}
    seconds: dict[str, list[float]] = {name: [] for name in runtimes}
    for start in range(0, len(scenes), SCENES_IN_TURN):
        images = [scenes[index] for index in range(start, min(start + SCENES_IN_TURN, len(scenes)))]
        for name, runtime in runtimes.items():
            for image in images:
                before = _clock(device)
                predictions[name] += runtime(image.image, [item.expression for item in image.items])
                seconds[name].append(_clock(device) - before)
    expected = next(iter(predictions.values()))
    figures = {}
    for name, found in predictions.items():
        pairs = list(zip(expected, found, strict=True))
        ious = [score_areas(*mask_areas(b["mask"], a["mask"])).iou for a, b in pairs]
        boxes = [(a["box_xyxy"], b["box_xyxy"]) for a, b in pairs if a["box_xyxy"] and b["box_xyxy"]]
        figures[name] = {
            "mean_iou": float(np.mean(ious)),
            "lowest_iou": min(ious),
            "equal_masks": float(np.mean(np.equal(ious, 1))),
            "changed_verdicts": float(np.mean([a["no_target"] != b["no_target"] for a, b in pairs])),
            "score_difference": max(abs(a["score"] - b["score"]) for a, b in pairs),
            "box_difference": max((float(np.abs(np.subtract(a, b)).max()) for a, b in boxes), default=0.0),
            "milliseconds": 1000 * float(np.median(seconds[name])),
        }
    return figures


def broken_promises(figures: dict[str, dict[str, float]]) -> list[str]:
    """Returns a line for each runtime that falls below what is promised of it."""
    lines = []
    for name, (mean, lowest, changed) in PROMISED.items():
        row = figures.get(name)
        if row and (row["mean_iou"] < mean or row["lowest_iou"] < lowest or row["changed_verdicts"] > changed):
            lines.append(
                f"{name}: mean IoU {row['mean_iou']:.4f}, lowest {row['lowest_iou']:.4f}, verdicts changed "
                f"{row['changed_verdicts']:.1%}; promised are {mean}, {lowest} and {changed:.1%}"
            )
    return lines


def table(figures: dict[str, dict[str, float]]) -> str:
    """Formats the figures as a Markdown table; time is a multiple of the first runtime's."""
    first = next(iter(figures.values()))["milliseconds"]
    lines = ["| runtime | IoU, mean | lowest | equal masks | verdicts changed | score | box, pixels | MB | time |"]
    lines.append("|---" * 9 + "|")
    for name, row in figures.items():
        cells = [f"{row['mean_iou']:.4f}", f"{row['lowest_iou']:.4f}", f"{row['equal_masks']:.1%}"]
        cells += [f"{row['changed_verdicts']:.1%}", f"{row['score_difference']:.1e}", f"{row['box_difference']:.1e}"]
        cells += [f"{row['megabytes']:.1f}", f"{row['milliseconds'] / first:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


def main(argv: list[str] | None = None) -> int:
    """Compares, prints the table and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=str(EMBEDDED_CHECKPOINT), help="model folder or Hub id")
    parser.add_argument("--runtimes", nargs="+", choices=RUNTIMES, default=RUNTIMES, metavar="NAME")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--num-scenes", type=int, default=200)
    parser.add_argument("--expressions-per-scene", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first scene")
    parser.add_argument("--device", default="cpu", help="where torch computes; ONNX Runtime stays on the CPU")
    parser.add_argument("--output", help="JSON file to write")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    scenes = SceneSamples(args.split, args.num_scenes, args.expressions_per_scene, args.first_seed)
    runtimes: dict[str, Runtime] = {}
    sizes = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in dict.fromkeys((RUNTIMES[0], *args.runtimes)):
            folder = Path(scratch) / name
            if name.startswith("onnx"):
                runtimes[name] = onnx_runtime(args.model, name.removeprefix("onnx "), folder)
            else:
                try:
                    runtimes[name] = torch_runtime(args.model, name, args.device, folder)
                except ValueError as error:  # what this processor does not do rightly
                    print(f"{name} is left out: {error}", file=sys.stderr)
                    continue
            files = [*folder.glob("*.safetensors"), *folder.glob("*.onnx*")]
            sizes[name] = sum(path.stat().st_size for path in files) / 1e6
        figures = compare(runtimes, scenes, args.device)
    for name, size in sizes.items():
        figures[name]["megabytes"] = size
    print(f"{len(scenes)} scenes of the {args.split!r} split, {scenes.num_expressions} expressions, on {args.device}\n")
    print(table(figures))
    print(f"\ntime 1.00 is {figures[RUNTIMES[0]]['milliseconds']:.1f} ms per scene")
    if args.output:
        Path(args.output).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    broken = broken_promises(figures)
    print("\n".join(broken), file=sys.stderr, end="\n" if broken else "")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
