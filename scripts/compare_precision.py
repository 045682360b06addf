# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Runs a model in lower precisions on generated scenes and prints how its masks differ from those in float32.

    python scripts/compare_precision.py
    python scripts/compare_precision.py outputs/embedded/final --num-scenes 1000

Masks are compared after thresholds and the decision "nothing found", at image size; two empty masks have an IoU of 1.
Exits with 1 where bfloat16 or int8 falls below what this library promises of its embedded checkpoint.
"""

import argparse
import contextlib
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from transformers.utils import logging

from ssp_sam import EMBEDDED_CHECKPOINT, SspSamModel, SspSamProcessor
from ssp_sam.deployment.quantize import quantize_linear_layers
from ssp_sam.training.evaluation.run import predicted_batches
from ssp_sam.training.evaluation.samples import SceneImages
from ssp_sam.training.scenes.generator import SPLITS

PRECISIONS = ("float32", "bfloat16", "float16", "autocast bfloat16", "int8 linear layers")
REQUIRED_IOU = {"bfloat16": 0.98, "int8 linear layers": 0.95}


@dataclass
class Answers:
    """What one precision answered.

    Args:
        size: bytes of parameters and buffers.
        seconds: spent in the model; of the processor, on a CPU.
        masks: one bool array per expression.
        found: whether there was a mask, per expression.
    """

    size: int = 0
    seconds: float = 0.0
    masks: list[np.ndarray] = field(default_factory=list)
    found: list[bool] = field(default_factory=list)


def load(folder: str, precision: str, device: str) -> tuple[SspSamModel, contextlib.AbstractContextManager]:
    """Returns the model, and the context to run it in."""
    dtype = getattr(torch, precision) if hasattr(torch, precision) else torch.float32
    # Stored in half precision perhaps: what all precisions start from is the same float32 model.
    model = SspSamModel.from_pretrained(folder, dtype=torch.float32).to(device, dtype).eval()
    if precision.startswith("int8"):
        quantize_linear_layers(model)
    if precision.startswith("autocast"):
        return model, torch.autocast(torch.device(device).type, dtype=torch.bfloat16)
    return model, contextlib.nullcontext()


def answer_all(folder: str, precision: str, device: str, images: SceneImages) -> Answers:
    """Runs one precision over all scenes, one at a time."""
    model, context = load(folder, precision, device)
    processor = SspSamProcessor.from_pretrained(folder)
    tensors = [*model.parameters(), *model.buffers()]
    answers = Answers(size=sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    # Time of the processor tells precisions apart on a machine that has other work, too.
    clock = time.process_time if device == "cpu" else time.perf_counter

    def start_clock(*_):
        answers.seconds -= clock()

    def stop_clock(*_):
        if device != "cpu":
            torch.cuda.synchronize()
        answers.seconds += clock()

    with context:
        warm_up = SceneImages(images.split, min(3, len(images)), images.expressions_per_scene, images.first_seed)
        for _ in predicted_batches(model, processor, warm_up, batch_size=1):
            pass
        model.register_forward_pre_hook(start_clock)
        model.register_forward_hook(stop_clock)
        for batch in predicted_batches(model, processor, images, batch_size=1):
            for _, _, raw in batch:
                answer = raw.read()
                answers.masks.append(answer["mask"].cpu().numpy())
                answers.found.append(not answer["no_target"])
    return answers


def mean_iou(masks: list[np.ndarray], others: list[np.ndarray]) -> float:
    """Returns the mean overlap of masks in pairs; that of two empty masks is 1."""
    overlaps = []
    for mask, other in zip(masks, others, strict=True):
        union = np.count_nonzero(mask | other)
        overlaps.append(np.count_nonzero(mask & other) / union if union else 1.0)
    return float(np.mean(overlaps))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=str(EMBEDDED_CHECKPOINT), help="model folder or Hub id")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--num-scenes", type=int, default=200)
    parser.add_argument("--expressions-per-scene", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first scene")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args(argv)
    precisions = [name for name in PRECISIONS if args.device == "cpu" or not name.startswith("int8")]

    images = SceneImages(args.split, args.num_scenes, args.expressions_per_scene, args.first_seed)
    count = args.num_scenes * args.expressions_per_scene
    logging.disable_progress_bar()
    pace_name = "CPU ms per scene" if args.device == "cpu" else "ms per scene"
    print(f"{args.num_scenes} scenes of the {args.split!r} split, {count} expressions, on {args.device}\n", flush=True)
    print(f"| precision | IoU with float32 | verdicts changed | MB | {pace_name} |\n|---|---|---|---|---|", flush=True)
    baseline, broken = None, []
    for precision in precisions:
        answers = answer_all(args.model, precision, args.device, images)
        baseline = baseline or answers
        iou = mean_iou(answers.masks, baseline.masks)
        changed = np.mean(np.array(answers.found) != np.array(baseline.found))
        size, pace = answers.size / 1e6, answers.seconds / args.num_scenes * 1e3
        print(f"| {precision} | {iou:.4f} | {changed:.1%} | {size:.1f} | {pace:.1f} |", flush=True)
        if iou < REQUIRED_IOU.get(precision, 0.0):
            broken.append(f"{precision}: {iou:.4f} is below {REQUIRED_IOU[precision]}")
    for line in broken:
        print(line, file=sys.stderr)
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
