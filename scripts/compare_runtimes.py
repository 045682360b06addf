# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Compares an exported ONNX folder with the model it came from, on generated scenes, and prints a table.

    ssp-sam export-onnx exported
    python scripts/compare_runtimes.py exported

Each scene goes through both routes from picture to mask: the processor and the model in float32 on torch, and the
torch-free script on ONNX Runtime. Exits with 1 if the IoU of two masks is below --least-iou, or if the two disagree
whether anything is meant. Times are those of the process on one thread.
"""

import argparse
import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch
from PIL import Image

from ssp_sam import EMBEDDED_CHECKPOINT
from ssp_sam.deployment.segment_onnx import OnnxSegmenter
from ssp_sam.modeling_ssp_sam.modeling_ssp_sam import SspSamModel
from ssp_sam.processing.processing_ssp_sam import SspSamProcessor
from ssp_sam.training.evaluation.samples import SceneImages
from ssp_sam.training.scenes.generator import SPLITS


def main(argv: list[str] | None = None) -> int:
    """Compares, prints the table and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="what ssp-sam export-onnx wrote")
    parser.add_argument("--model", default=str(EMBEDDED_CHECKPOINT), help="folder or Hub id that it was exported from")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--num-scenes", type=int, default=100)
    parser.add_argument("--expressions-per-scene", type=int, default=3)
    parser.add_argument("--least-iou", type=float, default=0.999, help="for graphs in float16, 0.95")
    parser.add_argument("--output", help="JSON file to write")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    processor = SspSamProcessor.from_pretrained(args.model)
    model = SspSamModel.from_pretrained(args.model, dtype=torch.float32).eval()
    segment_onnx = OnnxSegmenter(args.folder, num_threads=1)
    report = compare(model, processor, segment_onnx, args)
    print(table(report))
    if args.output:
        Path(args.output).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    agree = report["lowest_iou"] >= args.least_iou and report["same_decision"] == report["expressions"]
    return 0 if agree else 1


@torch.no_grad()
def segment_torch(model, processor, picture: Image.Image, expressions: list[str]) -> list[dict]:
    """The answers of the model itself, with masks as arrays."""
    inputs = processor(images=picture, text=expressions)
    sizes = inputs.pop("original_sizes")
    inputs.pop("reshaped_input_sizes")
    answers = processor.post_process_referring_segmentation(model(**inputs), sizes)
    return [{**answer, "mask": answer["mask"].numpy()} for answer in answers]


def compare(model, processor, segment_onnx: OnnxSegmenter, args: argparse.Namespace) -> dict:
    """Runs both routes over the scenes; returns how far they agree and how long they took."""
    routes = {
        "torch": lambda picture, texts: segment_torch(model, processor, picture, texts),
        "onnx": segment_onnx,
    }
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    overlaps, decisions, scores, boxes = [], [], [], []
    images = SceneImages(args.split, args.num_scenes, args.expressions_per_scene)
    for index in range(len(images)):
        image = images[index]
        picture, texts = image.image, [item.expression for item in image.items]
        answers = {}
        for name, segment in routes.items():
            start = time.process_time()
            answers[name] = segment(picture, texts)
            seconds[name].append(time.process_time() - start)
        for expected, given in zip(answers["torch"], answers["onnx"], strict=True):
            overlaps.append(_iou(expected["mask"], given["mask"]))
            decisions.append(expected["no_target"] == given["no_target"])
            scores.append(abs(expected["score"] - given["score"]))
            if expected["box_xyxy"] and given["box_xyxy"]:
                boxes.append(np.abs(np.subtract(expected["box_xyxy"], given["box_xyxy"])).max())
    return {
        "scenes": args.num_scenes,
        "expressions": len(overlaps),
        "mean_iou": float(np.mean(overlaps)),
        "lowest_iou": float(np.min(overlaps)),
        "same_mask": int(np.sum(np.equal(overlaps, 1))),
        "same_decision": int(np.sum(decisions)),
        "largest_score_difference": float(np.max(scores)),
        "largest_box_difference_pixels": float(np.max(boxes, initial=0.0)),
        # The first scenes pay for what is set up once.
        "median_ms": {name: 1000 * float(np.median(values)) for name, values in seconds.items()},
    }


def table(report: dict) -> str:
    """The report as a Markdown table."""
    total = report["expressions"]
    rows = {
        "scenes, expressions": f"{report['scenes']}, {total}",
        "mask IoU, mean": f"{report['mean_iou']:.6f}",
        "mask IoU, lowest": f"{report['lowest_iou']:.6f}",
        "masks equal in every pixel": f"{report['same_mask']} of {total}",
        "equal decisions on no target": f"{report['same_decision']} of {total}",
        "largest difference of scores": f"{report['largest_score_difference']:.1e}",
        "largest difference of boxes, pixels": f"{report['largest_box_difference_pixels']:.1e}",
        "torch, ms per scene": f"{report['median_ms']['torch']:.0f}",
        "ONNX Runtime, ms per scene": f"{report['median_ms']['onnx']:.0f}",
    }
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| ONNX against torch | |", "|---|---|", *lines])


def _iou(first: np.ndarray, second: np.ndarray) -> float:
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


if __name__ == "__main__":
    sys.exit(main())
