# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Measures a model on a prepared benchmark or on generated scenes, by the standard protocol and by that of SSP-SAM's
authors, and writes report.md, report.json and contact_sheet.png into the folder of --output.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from ..training.evaluation.options import EvaluationOptions
from ..training.options import add_options, as_words, defaults_of
from .files import InputError, told
from .model import add_model_option, find_model, load_pipeline

# Options that no number depends on.
SILENT_OPTIONS = ("output", "overwrite", "save_predictions", "cases", "workers", "published")
EXAMPLE = "ssp-sam evaluate --scenes test --num-scenes 5 --output report"


def add_arguments(parser: argparse.ArgumentParser):
    """Adds the options of `EvaluationOptions`, and those that say which model is evaluated."""
    add_model_option(parser)
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="precision (default: float32)"
    )
    add_options(parser.add_mutually_exclusive_group(required=True), EvaluationOptions, names=("data", "scenes"))
    add_options(parser, EvaluationOptions, left_out=("data", "scenes"))
    parser.add_argument(
        "--fit-thresholds",
        action="store_true",
        help="measure nothing: fit the thresholds and the calibration of scores to the data, and store them in the "
        "folder of --model",
    )


def run(options: argparse.Namespace) -> int:
    """Evaluates, or fits thresholds; returns 0."""
    import datasets

    from ..training.processes import open_accelerator

    datasets.disable_progress_bars()
    accelerator = open_accelerator()
    with told():
        if options.fit_thresholds:
            _fit(options, accelerator)
        else:
            _evaluate(options, accelerator)
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
    from ..training.evaluation.job import open_samples
    from ..training.evaluation.thresholds import fit_thresholds

    if accelerator.num_processes > 1:
        raise InputError(f"--fit-thresholds runs in one process, got {accelerator.num_processes}")
    if options.model is None or not os.path.isdir(options.model):
        raise InputError(f"--fit-thresholds writes into a folder; name it by --model, got {options.model!r}")
    if options.from_predictions:
        raise InputError("--fit-thresholds needs a model; leave --from-predictions out")
    samples = open_samples(_chosen(options))
    segmenter, _ = _load(options, accelerator)
    fit = fit_thresholds(segmenter, samples, batch_size=options.batch_size)
    fit.apply(segmenter.processor)
    with claim_name(options.model), write_aside(options.model, keep_others=True) as folder:
        segmenter.processor.save_pretrained(folder)
    for name, value in vars(fit).items():
        print(f"{name}: {value:.4g}")
    print(f"stored in {options.model}; evaluate on other data than split {samples.split!r}")


def _chosen(options: argparse.Namespace) -> EvaluationOptions:
    return EvaluationOptions(**{name: getattr(options, name) for name in defaults_of(EvaluationOptions)})


def _load(options: argparse.Namespace, accelerator) -> tuple[Any, str]:
    """Returns the pipeline, and the folder or Hub id that it was loaded from."""
    source = find_model(options.model, options.adapter)
    device = str(accelerator.device)
    wanted = argparse.Namespace(model=source, adapter=None, device=device, dtype=options.dtype, compile=False)
    return load_pipeline(wanted), source


def command_line(options: argparse.Namespace) -> str:
    """Returns the command that gives the same numbers: the options that they depend on, as far as they were chosen."""
    return f"ssp-sam evaluate {_words(options, SILENT_OPTIONS)}"


def _words(options: argparse.Namespace, left_out: tuple[str, ...] = ()) -> str:
    defaults = {"dtype": "float32", **defaults_of(EvaluationOptions)}
    return as_words(vars(options), defaults, ("command", "run", *left_out))


def _versions() -> dict[str, str]:
    import torch
    import transformers

    from .. import __version__

    return {"ssp-sam": __version__, "torch": torch.__version__, "transformers": transformers.__version__}
