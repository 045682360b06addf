# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Evaluates a model on a prepared benchmark or on generated scenes, by the standard and the original protocol.

    accelerate launch scripts/evaluate_ssp_sam.py --model ssp-sam-b16 --data prepared/refcoco_unc --split testA
    accelerate launch scripts/evaluate_ssp_sam.py --scenes test --num-scenes 200 --save-predictions
    python scripts/evaluate_ssp_sam.py --scenes test --num-scenes 200 --from-predictions predictions.json

Writes `report.md`, `report.json` and `contact_sheet.png` into the folder of `--output`. `docs/evaluation.md` defines
metrics, protocols and fields.
"""

import argparse
import os
import shlex
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # A launched script puts its own folder first on the path; the checkout's root must be there instead.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import datasets
import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm import tqdm

from ssp_sam import EMBEDDED_CHECKPOINT, ReferringSegmentationPipeline, __version__
from ssp_sam.cli.files import InputError, one_line, write_image
from ssp_sam.cli.model import load_pipeline
from ssp_sam.processing.visualization.comparison import Case, choose_cases, draw_contact_sheet
from ssp_sam.training.data.masks import decode
from ssp_sam.training.data.prepared import shards_by_split
from ssp_sam.training.evaluation.metrics import FAMILIES
from ssp_sam.training.evaluation.predictions import PredictionWriter, SavedPredictions
from ssp_sam.training.evaluation.predictor import predict_expressions, prepare_images
from ssp_sam.training.evaluation.protocols import EvaluationProtocol, EvaluationTally, prediction_record
from ssp_sam.training.evaluation.report import (
    build_report,
    choose_family,
    markdown_table,
    metric_names,
    model_identity,
    write_report,
)
from ssp_sam.training.evaluation.run import evaluate_model, evaluate_predictions
from ssp_sam.training.evaluation.samples import PreparedImages, SceneImages
from ssp_sam.training.scenes.generator import SPLITS

# The canvas of SAM, which predictions of another model say nothing about; the true masks go through it.
SAM_CANVAS = 1024
THRESHOLDS = ("mask_threshold", "no_target_threshold", "min_mask_pixels")
PREDICTIONS, SHEET = "predictions.json", "contact_sheet.png"
# Options that no number depends on.
SILENT_OPTIONS = ("output", "overwrite", "save_predictions", "cases", "workers")


class OneLineParser(argparse.ArgumentParser):
    """Reports bad usage in one line, without the whole usage before it."""

    def error(self, message: str):
        self.exit(2, f"evaluate_ssp_sam: {message}; see --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or Hub id of a model (default: the embedded checkpoint)")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", metavar="FOLDER", help="prepared benchmark or own data")
    data.add_argument("--scenes", choices=SPLITS, metavar="SPLIT", help=f"generated scenes: {', '.join(SPLITS)}")
    parser.add_argument("--split", help="split of --data (default: its only one, or val)")
    parser.add_argument("--limit", type=int, help="pictures of --data to use, from the first (default: all)")
    parser.add_argument("--num-scenes", type=int, default=1000)
    parser.add_argument("--expressions-per-scene", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first scene")
    parser.add_argument("--family", choices=FAMILIES, help="metrics to report (default: those of the benchmark)")
    parser.add_argument(
        "--min-mask-pixels",
        type=int,
        help="standard protocol: masks of fewer pixels of the picture count as empty (default: the processor's setting "
        "for the GRES family, 0 for the others)",
    )
    parser.add_argument("--output", default="outputs/evaluation", metavar="FOLDER", help="folder of the report")
    parser.add_argument("--overwrite", action="store_true", help="replace a report that is already there")
    parser.add_argument("--save-predictions", action="store_true", help=f"also write {PREDICTIONS}")
    parser.add_argument("--from-predictions", metavar="FILE", help="measure saved predictions; no model is loaded")
    parser.add_argument("--cases", type=int, default=3, help="cases per row of the contact sheet; 0 for no sheet")
    parser.add_argument("--batch-size", type=int, default=8, help="pictures in one pass of the image encoders")
    parser.add_argument("--expression-batch-size", type=int, default=64, help="expressions in one pass of the decoder")
    parser.add_argument("--workers", type=int, default=0, help="processes that read pictures, per evaluating process")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    return parser


@dataclass
class Evaluation:
    """What a run works with, checked before anything is computed."""

    images: PreparedImages | SceneImages
    segmenter: ReferringSegmentationPipeline | None
    saved: SavedPredictions | None
    model: dict[str, Any] | None
    settings: dict[str, Any]
    tally: EvaluationTally

    def record(self, index: int, place: int) -> tuple[Any, dict[str, Any] | None]:
        """Returns the picture and the prediction of one expression."""
        image = self.images[index]
        item = image.items[place]
        if self.saved is not None:
            return image, self.saved.take(item.ref_id, item.sentence)
        model, processor = self.segmenter.model, self.segmenter.processor
        inputs = prepare_images(processor, [image.image], [[item.expression]])
        answer = next(predict_expressions(model, processor, inputs))
        return image, prediction_record(image.image_id, item, answer, **thresholds(self.settings))


def command_line(args: argparse.Namespace) -> str:
    """Returns the command that gives the same numbers: the options that they depend on, as far as they were chosen."""
    parser, words = build_parser(), ["python", "scripts/evaluate_ssp_sam.py"]
    for name, value in vars(args).items():
        if name not in SILENT_OPTIONS and value != parser.get_default(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def thresholds(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns those settings that post-processing takes."""
    return {name: settings[name] for name in THRESHOLDS}


def check_options(args: argparse.Namespace):
    """Raises `InputError` for options that contradict each other or would lose files."""
    for name in ("batch_size", "expression_batch_size", "limit"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    for name in ("cases", "workers", "min_mask_pixels"):
        if (getattr(args, name) or 0) < 0:
            raise InputError(f"--{name.replace('_', '-')} must be at least 0, got {getattr(args, name)}")
    if args.scenes and (args.split or args.limit):
        raise InputError("--split and --limit belong to --data; for scenes give --scenes SPLIT and --num-scenes")
    if args.from_predictions and (args.model or args.save_predictions):
        raise InputError(
            "--from-predictions needs no model and saves nothing; leave --model and --save-predictions out"
        )
    output = Path(args.output)
    if output.exists() and not output.is_dir():
        raise InputError(f"--output must be a folder, got the file {args.output!r}")
    there = [name for name in ("report.json", PREDICTIONS) if (output / name).exists()]
    if args.from_predictions:
        there = [name for name in there if name != PREDICTIONS]
    if there and not args.overwrite:
        raise InputError(f"{args.output!r} already holds {' and '.join(there)}; give another --output or --overwrite")


def prepare(args: argparse.Namespace, accelerator: Accelerator) -> Evaluation:
    """Opens data, model or predictions, and decides the settings."""
    # 1. Data.
    if args.scenes:
        images = SceneImages(args.scenes, args.num_scenes, args.expressions_per_scene, args.first_seed)
    else:
        with accelerator.main_process_first():
            splits = list(shards_by_split(args.data))
            split = args.split or (splits[0] if len(splits) == 1 else "val")
            images = PreparedImages(args.data, split, args.limit)
    family = args.family or choose_family(images.sources, images.has_no_target)

    # 2. Model or predictions, and the settings that masks depend on.
    segmenter = saved = None
    if args.from_predictions:
        saved = SavedPredictions(args.from_predictions)
        model, known = saved.info.get("model"), saved.info.get("settings", {})
        settings = {"canvas_size": SAM_CANVAS, "mask_threshold": None, "no_target_threshold": None, **known}
        settings.setdefault("min_mask_pixels", 0)
    else:
        options = argparse.Namespace(model=args.model, device=str(accelerator.device), dtype=args.dtype)
        segmenter = load_pipeline(options)
        model = model_identity(args.model or str(EMBEDDED_CHECKPOINT), segmenter.model)
        processor = segmenter.processor
        settings = {"canvas_size": processor.image_processor.pad_size.height}
        settings |= {name: getattr(processor, name) for name in (*THRESHOLDS, "score_temperature", "score_bias")}
        if family != "gres":
            settings["min_mask_pixels"] = 0
    if args.min_mask_pixels is not None:
        settings["min_mask_pixels"] = args.min_mask_pixels

    # 3. Sums.
    standard = EvaluationProtocol.standard(settings["mask_threshold"], settings["min_mask_pixels"])
    tally = EvaluationTally(family, (standard, EvaluationProtocol.original()), settings["canvas_size"])
    return Evaluation(images, segmenter, saved, model, settings, tally)


def run(args: argparse.Namespace, accelerator: Accelerator, evaluation: Evaluation) -> dict[str, Any]:
    """Measures; returns what the report says of the run, and leaves the sums of all processes in `evaluation.tally`."""
    share = {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
    images, start = evaluation.images, time.monotonic()
    facts: dict[str, Any] = {
        "command": command_line(args),
        "predictions": "from a file" if evaluation.saved else "of the model",
    }
    if evaluation.saved is not None:
        evaluation.tally = evaluate_predictions(evaluation.tally, evaluation.saved, images, **share)
        facts["unused_predictions"] = len(evaluation.saved) - sum(gather_object([len(evaluation.saved.used)]))
    else:
        writer = None
        if args.save_predictions and accelerator.is_main_process:
            writer = PredictionWriter(Path(args.output) / PREDICTIONS, {"dataset": images.describe()})
        with tqdm(
            total=images.num_expressions, unit="expression", disable=not accelerator.is_main_process, file=sys.stderr
        ) as bar:
            try:
                evaluation.tally = evaluate_model(
                    evaluation.tally,
                    evaluation.segmenter.model,
                    evaluation.segmenter.processor,
                    images,
                    settings=thresholds(evaluation.settings),
                    save_predictions=args.save_predictions,
                    writer=writer,
                    batch_size=args.batch_size,
                    expression_batch_size=args.expression_batch_size,
                    num_workers=args.workers,
                    progress=lambda done: bar.update(min(done, bar.total) - bar.n),
                    **share,
                )
            except BaseException:
                if writer is not None:
                    writer.discard()
                raise
        if writer is not None:
            writer.close(model=evaluation.model, settings=evaluation.settings)
        facts |= {"batch_size": args.batch_size, "image_encodings": len(images), "device": str(accelerator.device.type)}
    seconds = time.monotonic() - start
    facts |= {
        "processes": accelerator.num_processes,
        "seconds": round(seconds, 2),
        "images_per_second": round(len(images) / seconds, 2),
        "expressions_per_second": round(images.num_expressions / seconds, 2),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"ssp-sam": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    }
    return facts


def draw_cases(evaluation: Evaluation, per_row: int, title: str):
    """Draws the contact sheet."""
    cases = evaluation.tally.cases
    overlaps = {(index, place): value for index, place, value in zip(*cases)}
    rows = {}
    for name, places in choose_cases(cases, per_row).items():
        rows[name] = []
        for index, place in places:
            image, record = evaluation.record(index, place)
            item, overlap = image.items[place], overlaps[index, place]
            true = decode(item.truth)
            predicted = true & False if record is None else decode(record["segmentation"])
            note = f"IoU {overlap:.2f}" if overlap >= 0 else "rightly empty" if overlap < -1.5 else "should be empty"
            note += ", not predicted" if record is None else ""
            note += f", score {record['score']:.2f}" if record and record.get("score") is not None else ""
            rows[name].append(Case(image.image, item.expression, predicted, true, note))
    return draw_contact_sheet(rows, title)


def evaluate(args: argparse.Namespace, accelerator: Accelerator, evaluation: Evaluation) -> dict[str, Any] | None:
    """Measures, writes the report and prints the metrics; returns the report in the main process, `None` elsewhere."""
    facts = run(args, accelerator, evaluation)
    if not accelerator.is_main_process:
        return None
    described = evaluation.images.describe()
    report = build_report(
        evaluation.tally, dataset=described, model=evaluation.model, settings=evaluation.settings, run=facts
    )
    folder = Path(args.output)
    if args.cases:
        title = f"{described['name']}, {described['split']}: {evaluation.model['name'] if evaluation.model else 'file'}"
        write_image(draw_cases(evaluation, args.cases, title), str(folder / SHEET))
    write_report(report, folder, SHEET if args.cases else None)
    rows = {name: protocol["all"] for name, protocol in report["protocols"].items()}
    print(markdown_table(rows, metric_names(report["settings"]["family"]), "protocol"))
    print(f"\n{facts['expressions_per_second']} expressions per second; wrote {folder / 'report.md'}")
    return report


def main(argv: list[str] | None = None) -> int:
    """Evaluates from the command line; returns the exit code: 0, or 2 for bad usage or input, told in one line."""
    args = build_parser().parse_args(argv)
    datasets.disable_progress_bars()
    try:
        check_options(args)
        # Without this, launched processes on a machine with no accelerator would not know of each other.
        accelerator = Accelerator(cpu=not torch.accelerator.is_available())
        evaluation = prepare(args, accelerator)
    except (InputError, ValueError, OSError) as error:
        # All processes meet the same fault; one of them tells it.
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"evaluate_ssp_sam: {one_line(error)}", file=sys.stderr)
        return 2
    try:
        evaluate(args, accelerator, evaluation)
    except (InputError, ValueError, OSError) as error:
        print(f"evaluate_ssp_sam: {one_line(error)}", file=sys.stderr)
        return 2
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return 0


if __name__ == "__main__":
    sys.exit(main())
