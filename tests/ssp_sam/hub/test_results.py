# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reports of `ssp-sam evaluate` on the model card: each family's own metrics, and of these weights alone."""

import json
import re
import shlex
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from ssp_sam.cli.main import main
from ssp_sam.hub.card import ModelFacts, make_card
from ssp_sam.hub.export import export_model
from ssp_sam.hub.results import read_report
from ssp_sam.training.evaluation.report import metric_names
from tests.helpers import benchmark as tiny_benchmark
from tests.helpers.hub_fixtures import section
from tests.helpers.models import make_pipeline

FACTS = ModelFacts(name="tiny")
NUMBERS = {
    "res": {"mIoU": 0.61234, "oIoU": 0.5, "Pr@0.5": 0.7, "Pr@0.6": 0.6, "Pr@0.7": 0.5, "Pr@0.8": 0.25, "Pr@0.9": 0.125},
    "gres": {
        "gIoU": 0.61234,
        "cIoU": 0.5,
        "Pr@0.5": 0.7,
        "Pr@0.6": 0.6,
        "Pr@0.7": 0.5,
        "Pr@0.8": 0.25,
        "Pr@0.9": 0.125,
        "N-acc": None,
        "T-acc": 1.0,
    },
    "phrasecut": {"mIoU": 0.61234, "cIoU": 0.5, "Pr@0.5": 0.7, "Pr@0.7": 0.5, "Pr@0.9": 0.125},
}


def report_of(family: str) -> dict:
    """A report with the fields of `docs/evaluation.md`."""
    row = {"samples": 20, "targeted": 20, "no_target": 0, **NUMBERS[family], "box Acc@0.5": 0.4}
    breakdowns = {
        "category": {"dog": row, "cat": row},
        "targets": {"single": {**row, "samples": 15}, "multi": {**row, "samples": 5}},
        "size": {"small": row, "large": row},
    }
    protocol = {"settings": {}, "all": row, "breakdowns": breakdowns}
    other = {name: value and value / 2 for name, value in NUMBERS[family].items()}
    return {
        "format": "ssp-sam evaluation, version 1",
        "dataset": {"name": "RefCOCO unc", "sources": ["refcoco"], "split": "testA", "expressions_fingerprint": "ab12"},
        "model": {"name": "final", "type": "ssp_sam", "weights_sha256": None},
        "settings": {"family": family, "mask_threshold": 0.5, "no_target_threshold": 1.0, "min_mask_pixels": 0},
        "protocols": {
            "standard": {**protocol, "score_error": 0.1},
            "original": {**protocol, "all": {**row, **other}},
        },
        "run": {"command": "ssp-sam evaluate --data prepared/refcoco_unc --split testA"},
    }


@pytest.fixture(scope="module")
def exported(tiny_checkpoint, tmp_path_factory):
    return export_model(tiny_checkpoint, tmp_path_factory.mktemp("export") / "tiny-model")


@pytest.fixture
def card(exported, tmp_path):
    """Makes the card of the export with a report."""

    def make(report: dict) -> ModelCard:
        (tmp_path / "report.json").write_text(json.dumps(report), "utf-8")
        made = ModelCard(make_card(exported, FACTS, (), [read_report(tmp_path / "report.json")]))
        # As strict as the Hub: written and read again, the index is the same.
        assert ModelCard(str(made)).data.to_dict() == made.data.to_dict()
        return made

    return make


# ---- reports written by hand ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", NUMBERS)
def test_the_index_holds_the_metrics_of_the_family_by_the_standard_protocol(card, family):
    results = card(report_of(family)).data.eval_results
    numbers = {name: round(value, 4) for name, value in NUMBERS[family].items() if value is not None}
    assert {result.metric_name: result.metric_value for result in results} == {**numbers, "box Acc@0.5": 0.4}
    assert {(result.dataset_name, result.dataset_type, result.dataset_split) for result in results} == {
        ("RefCOCO unc", "refcoco-unc", "testA")
    }
    assert {result.dataset_revision for result in results} == {"ab12"}


@pytest.mark.parametrize("family", NUMBERS)
def test_the_table_has_the_columns_of_the_family_and_a_row_of_the_original_protocol(card, family):
    results = section(card(report_of(family)), "Results")
    assert "| targets | expressions | " + " | ".join(metric_names(family)) + " |" in results
    values = ["–" if value is None else f"{value:.3f}" for value in [*NUMBERS[family].values(), 0.4]]
    assert "| all | 20 | " + " | ".join(values) + " |" in results
    assert "| single | 15 | 0.612 | " in results and "| multi | 5 | 0.612 | " in results
    assert "| all, original protocol | 20 | 0.306 | 0.250 | " in results and "512 x 512" in results
    assert "dog" not in results
    assert "--data prepared/refcoco_unc --split testA\n```" in results


def test_kinds_of_expression_tell_more_than_numbers_of_targets(card):
    report = report_of("gres")
    row = report["protocols"]["standard"]["all"]
    report["protocols"]["standard"]["breakdowns"]["kind"] = {"noun": {**row, "samples": 12}, "none": {}}
    results = section(card(report), "Results")
    assert "| kind | expressions | gIoU |" in results and "| noun | 12 | 0.612 |" in results
    assert "| none | not stated |" + " not measured |" * len(metric_names("gres")) in results
    assert "single" not in results


def test_two_evaluations_of_different_expressions_stay_apart_in_the_index(exported, tmp_path):
    evaluations = []
    for number, fingerprint in enumerate(("ab12", "cd34")):
        report = report_of("res")
        report["dataset"]["expressions_fingerprint"] = fingerprint
        (tmp_path / f"{number}.json").write_text(json.dumps(report), "utf-8")
        evaluations.append(read_report(tmp_path / f"{number}.json"))
    made = ModelCard(make_card(exported, FACTS, (), evaluations))
    assert [len(entry["metrics"]) for entry in made.data.to_dict()["model-index"][0]["results"]] == [8, 8]


PATHS = [
    ("dataset",), ("dataset", "name"), ("dataset", "split"), ("dataset", "expressions_fingerprint"),
    ("model",), ("model", "weights_sha256"),
    ("settings",), ("settings", "family"), ("settings", "mask_threshold"),
    ("protocols",), ("protocols", "standard"), ("protocols", "standard", "all"),
    ("protocols", "standard", "breakdowns"), ("protocols", "standard", "all", "mIoU"),
    ("protocols", "standard", "breakdowns", "targets", "single"),
    ("protocols", "original"), ("protocols", "original", "all"), ("run",), ("run", "command"),
]  # fmt: skip


def damaged(path: tuple[str, ...], *value) -> dict:
    """A report with a field replaced by a value, or without it."""
    report = json.loads(json.dumps(report_of("res")))
    place = report
    for name in path[:-1]:
        place = place[name]
    del place[path[-1]]
    if value:
        place[path[-1]] = value[0]
    return report


def numbers_in(content) -> set[str]:
    if isinstance(content, dict):
        return set().union(*map(numbers_in, content.values()))
    return {f"{content:.3f}"} if isinstance(content, float) else set()


@pytest.mark.parametrize("path", PATHS, ids="/".join)
@pytest.mark.parametrize("value", [(), (None,), ([],), ("",), ({},), (True,), (float("nan"),)], ids=repr)
def test_damage_is_no_fault_and_gives_no_number_that_is_not_in_the_report(card, path, value):
    report = damaged(path, *value)
    made = card(report)
    assert set(re.findall(r"(?<=\| )\d+\.\d+(?= \|)", section(made, "Results"))) <= numbers_in(report)
    assert {f"{result.metric_value:.2f}" for result in made.data.eval_results or []} <= {
        f"{float(number):.2f}" for number in numbers_in(report)
    }


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("dataset", "name"), "On data that is not named, split testA, RES metrics"),
        (("dataset", "split"), "On RefCOCO unc, split not stated, RES metrics"),
        (("settings", "family"), "split testA: not measured, since the report does not tell which metrics it has."),
        (("protocols",), "| all | not stated |" + " not measured |" * 8),
        (("protocols", "standard", "all", "mIoU"), "| all | 20 | not measured | 0.500 |"),
        (("protocols", "standard", "all", "samples"), "| all | not stated | 0.612 |"),
        (("run", "command"), "The report does not tell the command."),
    ],
    ids=lambda value: "/".join(value) if isinstance(value, tuple) else "",
)
def test_the_card_says_what_the_report_lacks(card, path, text):
    made = card(damaged(path))
    assert text in section(made, "Results")
    assert (made.data.eval_results is None) == (path in (("settings", "family"), ("protocols",)))
    assert "mIoU" not in path or "mIoU" not in {result.metric_name for result in made.data.eval_results}


def test_a_report_of_a_later_format_is_refused(card):
    with pytest.raises(ValueError, match=r"report\.json' is no evaluation report: expected report\.json of"):
        card({**report_of("res"), "format": "ssp-sam evaluation, version 2"})


def test_small_masks_count_in_the_family_that_has_answers_of_nothing_alone(card):
    report = report_of("res")
    report["settings"]["min_mask_pixels"] = 9
    assert card(report).data.eval_results
    report = report_of("gres")
    report["settings"]["min_mask_pixels"] = 9
    with pytest.raises(ValueError, match="with min_mask_pixels 9, but the model is exported with 0"):
        card(report)


# ---- reports that the command writes --------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def datasets_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def evaluate(folder, *words) -> str:
    """Evaluates by the command, and returns the report."""
    assert main(["evaluate", *map(str, words), "--cases", "0", "--output", str(folder / "out")]) == 0
    return str(folder / "out" / "report.json")


@pytest.mark.parametrize(("source", "family"), [("tiny", "res"), ("phrasecut", "phrasecut")])
def test_a_benchmark_is_reported_in_its_own_metrics(source, family, tiny_checkpoint, tmp_path):
    rows = [tiny_benchmark.tiny_row(number, source=source) for number in range(4)]
    data = tiny_benchmark.write_benchmark(tmp_path / "street", {"val": rows})
    report = evaluate(tmp_path, "--data", data, "--model", tiny_checkpoint, "--batch-size", 2)
    assert main(["export", str(tmp_path / "new"), "--model", tiny_checkpoint, "--report", report, "--no-check"]) == 0
    made = ModelCard.load(tmp_path / "new" / "README.md")
    overall = json.loads((tmp_path / "out/report.json").read_text("utf-8"))["protocols"]["standard"]["all"]
    assert {result.metric_name: result.metric_value for result in made.data.eval_results} == {
        name: round(overall[name], 4) for name in metric_names(family)
    }
    assert f"--data {data} --batch-size 2\n" in section(made, "Results")
    assert "which are those of this repository" in section(made, "Results")


def test_the_command_on_the_card_gives_the_same_numbers(exported, tiny_checkpoint, tmp_path):
    options = ["--scenes", "novel", "--num-scenes", 3, "--first-seed", 5, "--model", tiny_checkpoint]
    report = evaluate(tmp_path / "once", *options)
    results = section(ModelCard(make_card(exported, FACTS, (), [read_report(report)])), "Results")
    command = re.search(r"```bash\nssp-sam evaluate (.*)\n```", results)[1]
    again = evaluate(tmp_path / "again", *shlex.split(command))
    first, second = (json.loads(Path(path).read_text("utf-8")) for path in (report, again))
    assert first["protocols"] == second["protocols"] and first["dataset"] == second["dataset"]


def test_numbers_of_other_weights_are_refused_and_nothing_is_written(tiny_checkpoint, tmp_path, capsys):
    make_pipeline(seed=1).save_pretrained(tmp_path / "other")
    report = evaluate(tmp_path, "--scenes", "novel", "--num-scenes", 1, "--model", tmp_path / "other")
    capsys.readouterr()
    words = ["export", str(tmp_path / "new"), "--model", tiny_checkpoint, "--report", report, "--no-check"]
    assert main(words) == 2
    told = capsys.readouterr().err
    digests = {read_report(report).weights_sha256, *re.findall(r"\b[0-9a-f]{64}\b", told)}
    assert len(digests) == 2 and told.count("\n") == 1
    assert "evaluate this model again, or export the one that was measured" in told
    assert not (tmp_path / "new").exists()


def test_an_evaluation_of_the_export_itself_counts_for_the_model(tiny_checkpoint, tmp_path):
    folder = export_model(tiny_checkpoint, tmp_path / "parts", max_shard_size="60KB")
    report = read_report(evaluate(tmp_path, "--scenes", "novel", "--num-scenes", 1, "--model", folder))
    export_model(tiny_checkpoint, tmp_path / "new", max_shard_size="60KB", evaluations=[report])
    with pytest.raises(ValueError, match=f"measured weights with SHA-256 {report.weights_sha256}, but those of the"):
        export_model(tiny_checkpoint, tmp_path / "whole", evaluations=[report])
