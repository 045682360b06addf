# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Prints a model's table per kind of expression on unseen generated scenes, or fits its thresholds to scenes.

    python scripts/evaluate_scenes.py outputs/embedded/final --split test --num-scenes 1000
    python scripts/evaluate_scenes.py outputs/embedded/final --fit-thresholds

The table is the standard protocol's of `scripts/evaluate_ssp_sam.py --scenes`, which writes a whole report.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch

from ssp_sam.modeling_ssp_sam.modeling_ssp_sam import SspSamModel
from ssp_sam.processing.processing_ssp_sam import SspSamProcessor
from ssp_sam.training.evaluation.protocols import EvaluationProtocol, EvaluationTally
from ssp_sam.training.evaluation.report import markdown_table
from ssp_sam.training.evaluation.run import evaluate_model
from ssp_sam.training.evaluation.samples import SceneImages
from ssp_sam.training.evaluation.thresholds import fit_thresholds
from ssp_sam.training.scenes.expressions import KINDS
from ssp_sam.training.scenes.generator import SPLITS

COLUMNS = ("gIoU", "cIoU", "Pr@0.5", "Pr@0.7", "Pr@0.9", "N-acc", "T-acc", "box Acc@0.5")


def main(argv: list[str] | None = None) -> dict:
    """Runs the evaluation or the fit; returns what it wrote."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="model folder or Hub id")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--num-scenes", type=int, default=1000)
    parser.add_argument("--expressions-per-scene", type=int, default=6)
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first scene")
    parser.add_argument("--batch-size", type=int, default=8, help="scenes in one forward")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", help="JSON file to write")
    parser.add_argument(
        "--fit-thresholds",
        action="store_true",
        help="fit thresholds and calibration on the validation split and store them in the model folder",
    )
    args = parser.parse_args(argv)

    model = SspSamModel.from_pretrained(args.model, dtype=torch.float32).to(args.device).eval()
    processor = SspSamProcessor.from_pretrained(args.model)
    split = "validation" if args.fit_thresholds else args.split
    images = SceneImages(split, args.num_scenes, args.expressions_per_scene, args.first_seed)
    start, total = time.monotonic(), args.num_scenes * args.expressions_per_scene

    def progress(done: int):
        if sys.stderr.isatty() or done % 600 == 0 or done == total:
            end = "\r" if sys.stderr.isatty() and done < total else "\n"
            rate = done / (time.monotonic() - start)
            print(f"{done}/{total} expressions, {rate:.0f}/s", end=end, file=sys.stderr)

    options = {"batch_size": args.batch_size, "progress": progress}
    report = {"model": args.model, "split": split, "num_scenes": args.num_scenes, "first_seed": args.first_seed}
    report["expressions_per_scene"] = args.expressions_per_scene
    if args.fit_thresholds:
        # A plain confidence is what the calibration starts from.
        processor.score_temperature, processor.score_bias = 1.0, 0.0
        processor.min_mask_pixels = 0
        report["fit"] = asdict(fit_thresholds(model, processor, images, **options))
        store_fit(Path(args.model), processor, report["fit"])
        print(json.dumps(report["fit"], indent=2))
    else:
        settings = ("mask_threshold", "no_target_threshold", "min_mask_pixels", "score_temperature", "score_bias")
        report["settings"] = {name: getattr(processor, name) for name in settings}
        report["metrics"] = measure(model, processor, images, **options)
        print(f"GRES metrics at image resolution, {args.num_scenes} scenes of the {split!r} split\n")
        print(markdown_table(report["metrics"], COLUMNS, "kind"))
        print(f"\nexpected calibration error of the scores: {report['metrics']['all']['score_error']:.3f}")
    if args.output:
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)
        Path(args.output).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def measure(model, processor, images: SceneImages, **options) -> dict[str, dict]:
    """
    Measures the GRES metrics by the standard protocol, with the processor's own thresholds.

    Args:
        model: An `SspSamModel` in eval mode.
        processor: Its `SspSamProcessor`.
        images: The scenes.
        options: `batch_size` and `progress` of `evaluate_model`.

    Returns:
        Metrics overall (`"all"`, with the calibration error of the scores as `score_error`) and per kind of expression.
    """
    standard = EvaluationProtocol.standard(processor.mask_threshold, processor.min_mask_pixels)
    tally = EvaluationTally("gres", (standard,), processor.image_processor.pad_size.height)
    tally = evaluate_model(tally, model, processor, images, settings={}, **options)
    result = tally.results()["standard"]
    kinds = result["breakdowns"]["kind"]
    overall = {**result["all"], "score_error": result["score_error"]}
    return {"all": overall} | {kind: kinds[kind] for kind in KINDS if kind in kinds}


def store_fit(folder: Path, processor: SspSamProcessor, fit: dict):
    """Writes fitted settings into the processor of a model folder; the weights stay untouched."""
    for name in ("mask_threshold", "no_target_threshold", "score_temperature", "score_bias"):
        setattr(processor, name, fit[name])
    processor.save_pretrained(folder)


if __name__ == "__main__":
    main()
