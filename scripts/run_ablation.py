# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Trains the small single-tower model and each variant of the paper's ablation on generated scenes, with one budget and
several seeds, and writes a table.

    accelerate launch scripts/run_ablation.py outputs/ablation --towers outputs/towers/final --seeds 0 1 2

Every variant starts from the same towers, trained without language by training/configs/embedded_towers.yaml. A run that
was stopped goes on when the command is repeated, and finished runs are kept. Other words go to training/train.py.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from accelerate import PartialState

from ssp_sam.configuration.presets import ABLATIONS, merge_fields
from ssp_sam.training.atomic_files import write_text
from ssp_sam.training.config_files import parse_settings
from ssp_sam.training.run_log import SUMMARY_FILE
from ssp_sam.training.train import main as train

MAIN_ROW = "main"
# Depth and SigLIP's towers are no adapters; and the surgery is CLIP's, which the single-tower model lacks.
OTHER_ROWS = ("layer_ablation", "siglip2")
ROWS = {MAIN_ROW: {}} | {name: fields for name, fields in ABLATIONS.items() if name not in OTHER_ROWS}
MEANINGS = {
    MAIN_ROW: "both adapters, verification, prompt tokens",
    "only_LAD": "linguistic adapter alone; prompted by the patches",
    "only_VAD": "visual adapter alone; prompted by the patches",
    "only_LAD_VAD": "both adapters; prompted by the patches",
    "only_Q_token": "no adapter; prompt tokens",
    "only_LAD_Q_token": "linguistic adapter; prompt tokens",
    "only_VAD_Q_token": "visual adapter; prompt tokens",
    "wo_gaussian": "verification by the raw cosine",
    "single_task": "no box head",
    "w_decoder": "prompts from a transformer decoder",
}
COLUMNS = ("gIoU", "cIoU", "Pr@0.5", "N-acc", "T-acc", "box Acc@0.5")
CONFIG = "ablation"
# What may differ between two calls without making the finished runs of the first worthless.
INCIDENTAL = ("output_dir", "resume", "scene_cache", "render_workers", "dataloader_workers", "trackers", "log_steps")


def parse(argv: list[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Reads the command line; returns the options and the words for the training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder of the runs and of ablation.md")
    parser.add_argument("--towers", required=True, help="model folder that every run starts from")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    return parser.parse_known_args(argv)


def run_words(options: argparse.Namespace, row: str, seed: int, others: list[str]) -> list[str]:
    """Returns the training's command line for one cell of the table."""
    fields = merge_fields(parse_settings(["--config", CONFIG, *others]).model.config_fields(), ROWS[row])
    folder = options.output / row / f"seed-{seed}"
    return [
        *("--config", CONFIG, *others),
        *("--init_from", options.towers, "--model_config", json.dumps(fields)),
        *("--seed", str(seed), "--output_dir", str(folder), "--resume", "auto"),
    ]


def finished(words: list[str]) -> dict | None:
    """Returns the summary of a run that is over, if it is; raises `ValueError` where it ran with other settings."""
    wanted = json.loads(json.dumps(parse_settings(words).as_dict()))
    folder = Path(wanted["output_dir"])
    if not (folder / SUMMARY_FILE).is_file():
        return None
    had = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
    changed = [name for name, value in wanted.items() if name not in INCIDENTAL and had.get(name) != value]
    if changed:
        name = changed[0]
        raise ValueError(f"{folder} was run with {name} {had.get(name)}, now {wanted[name]}; choose another output")
    return json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))


def table(results: dict[str, list[dict]], heading: str) -> str:
    """
    Formats the results as Markdown: mean and, in brackets, the standard deviation over seeds.

    Args:
        results: Overall metrics of each seed by row.
        heading: What stands above the table.
    """
    lines = [heading, "", "| variant | | runs | " + " | ".join(COLUMNS) + " | gIoU to main |"]
    lines.append("|---" * (len(COLUMNS) + 4) + "|")
    means = {row: statistics.fmean(run["gIoU"] for run in runs) for row, runs in results.items()}
    for row, runs in results.items():
        cells = []
        for column in COLUMNS:
            values = [run[column] for run in runs if run.get(column) is not None]
            spread = f" ({statistics.stdev(values):.3f})" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.3f}{spread}" if values else "–")
        known = MAIN_ROW in means and row != MAIN_ROW
        difference = f"{means[row] - means[MAIN_ROW]:+.3f}" if known else "–"
        lines.append(f"| {row} | {MEANINGS[row]} | {len(runs)} | {' | '.join(cells)} | {difference} |")
    return "\n".join(lines) + "\n"


def write_table(options: argparse.Namespace, others: list[str], results: dict[str, list[dict]]):
    """Writes `ablation.md` with what was run so far."""
    settings = parse_settings(["--config", CONFIG, *others, "--init_from", options.towers])
    processes = PartialState().num_processes
    per_step = processes * settings.data.images_per_device * settings.data.expressions_per_image
    heading = (
        f"{settings.optimization.max_steps} steps of {per_step} expressions; GRES metrics on the canvas over "
        f"{settings.data.num_eval_scenes} validation scenes of {settings.data.expressions_per_image} expressions; "
        f"mean over seeds {', '.join(map(str, options.seeds))} (standard deviation)."
    )
    write_text(options.output / "ablation.md", table(results, heading))


def main(argv: list[str] | None = None) -> dict[str, list[dict]]:
    """Runs what is missing; returns the overall metrics of each seed by row."""
    options, others = parse(argv)
    results: dict[str, list[dict]] = {}
    for seed in options.seeds:  # seed by seed, so that an early table compares all rows
        for row in options.rows:
            words = run_words(options, row, seed, others)
            summary = finished(words)
            metrics = train(words)["all"] if summary is None else summary["metrics"]
            results.setdefault(row, []).append(metrics)
            if PartialState().is_main_process:
                write_table(options, others, results)
    if PartialState().is_main_process:
        print((options.output / "ablation.md").read_text(encoding="utf-8"))
    return results


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        print(f"run_ablation: {error}", file=sys.stderr)
        sys.exit(2)
