# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`ssp-sam evaluate`: measures a model, or saved predictions, and writes a report."""

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from .files import InputError, one_line

# Options that no number depends on.
SILENT_OPTIONS = ("output", "overwrite", "save_predictions", "cases", "workers", "published")
EXAMPLE = "ssp-sam evaluate --scenes test --num-scenes 5 --output report"


def add_parser(commands):
    """Adds the subcommand to those of `ssp-sam`."""
    parser = commands.add_parser(
        "evaluate",
        description="Measures a model on a prepared benchmark or on generated scenes, by the standard protocol and by "
        "that of SSP-SAM's authors, and writes report.md, report.json and contact_sheet.png into the folder of "
        "--output.",
        example=EXAMPLE,
    )
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: argparse.ArgumentParser):
    """Adds the options; they are those of `EvaluationOptions`, and which model is evaluated."""
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help="Hub id, owner/name:FILE, folder or .pth of a model (default: the embedded one)",
    )
    parser.add_argument("--adapter", metavar="DIR", help="low-rank adapters by peft to add to the model")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="precision (default: float32)"
    )
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", metavar="DIR", help="folder of a prepared benchmark or custom dataset")
    data.add_argument("--scenes", metavar="SPLIT", help="generated scenes: test, novel, validation or train")
    parser.add_argument("--split", metavar="NAME", help="split of --data (default: its only one, or val)")
    parser.add_argument("--limit", type=int, metavar="N", help="images of --data, from the first (default: all)")
    parser.add_argument("--num-scenes", type=int, default=1000, metavar="N", help="scenes (default: 1000)")
    parser.add_argument("--expressions-per-scene", type=int, default=2, metavar="N", help="of each (default: 2)")
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="seed of the first scene (default: 0)")
    parser.add_argument("--family", metavar="NAME", help="metrics: res, gres or phrasecut (default: by the data)")
    parser.add_argument(
        "--min-mask-pixels",
        type=int,
        metavar="N",
        help="by the standard protocol, masks of fewer pixels count as empty (default: the processor's setting for the "
        "GRES family, 0 for the others)",
    )
    parser.add_argument(
        "--output", default="outputs/evaluation", metavar="DIR", help="folder to write (default: outputs/evaluation)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a report that is already there")
    parser.add_argument("--published", action="store_true", help="also show what papers report, and the difference")
    parser.add_argument("--save-predictions", action="store_true", help="also write predictions.json")
    parser.add_argument(
        "--from-predictions",
        metavar="FILE",
        help="measure saved predictions, or a folder of ssp-sam annotate; no model is loaded",
    )
    parser.add_argument(
        "--fit-thresholds",
        action="store_true",
        help="measure nothing: fit the thresholds and the calibration of scores to the data, and store them in the "
        "folder of --model",
    )
    parser.add_argument("--cases", type=int, default=3, metavar="N", help="cases per row of the sheet; 0: no sheet")
    parser.add_argument("--batch-size", type=int, default=8, metavar="N", help="images encoded at once (default: 8)")
    parser.add_argument(
        "--expression-batch-size", type=int, default=64, metavar="N", help="expressions decoded at once (default: 64)"
    )
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes that read images (default: 0)")


def run(options: argparse.Namespace) -> int:
    """Evaluates, or fits thresholds; returns 0, or 2 in processes that leave the report of a fault to the first."""
    import datasets
    import torch
    from accelerate import Accelerator

    datasets.disable_progress_bars()
    # Without this, launched processes on a machine with no accelerator would not know of each other.
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())
    try:
        if options.fit_thresholds:
            _fit(options, accelerator)
        else:
            _evaluate(options, accelerator)
    except (InputError, ValueError, OSError) as error:
        # Processes mostly meet the same fault; one of them tells it.
        if os.environ.get("RANK", "0") != "0":
            return 2
        raise InputError(one_line(error)) from error
    accelerator.end_training()
    return 0


def _evaluate(options: argparse.Namespace, accelerator):
    from ..training.evaluation.job import Evaluation
    from ..training.evaluation.report import markdown_table, metric_names, published_section

    # 1. Open everything, and say what is measured.
    chosen = _chosen(options)
    if options.from_predictions and options.model:
        raise InputError(f"--from-predictions needs no model; leave --model {options.model!r} out")
    segmenter, model = (None, "") if options.from_predictions else _load(options, accelerator)
    evaluation = Evaluation(chosen, accelerator, segmenter, model)
    if evaluation.model and options.model and not os.path.isdir(options.model):
        evaluation.model["name"] = options.model  # rather than the folder that it was pulled into
    samples = evaluation.samples
    accelerator.print(
        f"split {samples.split!r} of {', '.join(samples.sources)}: {len(samples)} images, "
        f"{samples.num_expressions} expressions",
        flush=True,
    )

    # 2. Measure.
    report = evaluation.run({"command": command_line(options), "versions": _versions()})
    if report is None:
        return

    # 3. Show.
    metrics = metric_names(report["settings"]["family"])
    print(f"\n{markdown_table({name: row['all'] for name, row in report['protocols'].items()}, metrics, 'protocol')}")
    kinds = report["protocols"]["standard"]["breakdowns"].get("kind")
    if kinds:
        print(f"\n{markdown_table(kinds, metrics, 'kind, standard protocol')}")
    if "published" in report:
        print(f"\n{published_section(report)}")
    speed = report["run"]["expressions_per_second"]
    print(f"\n{speed} expressions per second; wrote {Path(chosen.output) / 'report.md'}")
    if accelerator.num_processes == 1:
        print(f"on several processes: accelerate launch -m ssp_sam.cli.main evaluate {_words(options)}")


def _fit(options: argparse.Namespace, accelerator):
    from ..training.atomic_files import claim_name, write_aside
    from ..training.evaluation.thresholds import fit_thresholds

    if accelerator.num_processes > 1:
        raise InputError(f"--fit-thresholds runs in one process, got {accelerator.num_processes}")
    if options.model is None or not os.path.isdir(options.model):
        raise InputError(f"--fit-thresholds writes into a folder; name it by --model, got {options.model!r}")
    if options.from_predictions:
        raise InputError("--fit-thresholds needs a model; leave --from-predictions out")
    samples = _chosen(options).open_samples()
    segmenter, _ = _load(options, accelerator)
    fit = fit_thresholds(segmenter, samples, batch_size=options.batch_size)
    fit.apply(segmenter.processor)
    with claim_name(options.model), write_aside(options.model, keep_others=True) as folder:
        segmenter.processor.save_pretrained(folder)
    for name, value in vars(fit).items():
        print(f"{name}: {value:.4g}")
    print(f"stored in {options.model}; evaluate on other data than split {samples.split!r}")


def _chosen(options: argparse.Namespace):
    from dataclasses import fields

    from ..training.evaluation.job import EvaluationOptions

    return EvaluationOptions(**{field.name: getattr(options, field.name) for field in fields(EvaluationOptions)})


def _load(options: argparse.Namespace, accelerator) -> tuple[Any, str]:
    """Returns the pipeline, and the folder or Hub id that it was loaded from."""
    from .model import find_model, load_pipeline

    source = find_model(options.model, options.adapter)
    device = str(accelerator.device)
    wanted = argparse.Namespace(model=source, adapter=None, device=device, dtype=options.dtype, compile=False)
    return load_pipeline(wanted), source


def command_line(options: argparse.Namespace) -> str:
    """Returns the command that gives the same numbers: the options that they depend on, as far as they were chosen."""
    return f"ssp-sam evaluate {_words(options, SILENT_OPTIONS)}"


def _words(options: argparse.Namespace, left_out: tuple[str, ...] = ()) -> str:
    parser, words = argparse.ArgumentParser(), []
    add_options(parser)
    for name, value in vars(parser.parse_args(["--data", ""])).items():
        default = None if name == "data" else value
        chosen = getattr(options, name)
        if name not in left_out and chosen != default:
            words += [f"--{name.replace('_', '-')}", *([] if chosen is True else [str(chosen)])]
    return shlex.join(words)


def _versions() -> dict[str, str]:
    import torch
    import transformers

    from .. import __version__

    return {"ssp-sam": __version__, "torch": torch.__version__, "transformers": transformers.__version__}
