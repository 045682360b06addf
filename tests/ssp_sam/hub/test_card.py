# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The model card: what it says comes from files and reports, and what nobody measured is called not measured."""

import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.utils import yaml_dump
from PIL import Image

from ssp_sam import EMBEDDED_CHECKPOINT
from ssp_sam.cli.main import main
from ssp_sam.hub.card import FACTS_FILE, ModelFacts, make_card, read_facts
from ssp_sam.hub.results import read_report
from ssp_sam.hub.samples import scene_samples
from ssp_sam.training.evaluation.report import FORMAT, metric_names
from tests.helpers.hub_fixtures import EXPRESSIONS, export_tiny, section

ROOT = Path(__file__).resolve().parents[3]
METRICS = metric_names("gres")

ALL = {
    "samples": 20,
    "gIoU": 0.61234,
    "cIoU": 0.5,
    "Pr@0.5": 0.7,
    "Pr@0.7": 0.6,
    "Pr@0.9": 0.25,
    "N-acc": None,
    "T-acc": 1.0,
    "box Acc@0.5": 0.4,
}
REPORT = {
    "format": FORMAT,
    "dataset": {"name": "generated scenes", "split": "test", "first_seed": 3},
    "settings": {"family": "gres", "mask_threshold": 0.5, "no_target_threshold": 1.0, "score_bias": -2.5},
    "protocols": {"standard": {"all": ALL, "breakdowns": {"kind": {"noun": {"gIoU": 0.75}, "none": {}}}}},
    "run": {"command": "ssp-sam evaluate --model 'runs/a b' --scenes test --num-scenes 10"},
}


def with_metrics(standard: dict) -> dict:
    """The report with other metrics by the standard protocol."""
    return {**REPORT, "protocols": {"standard": standard}}


@pytest.fixture(scope="module")
def exported(tiny_checkpoint, tmp_path_factory):
    return export_tiny(tiny_checkpoint, tmp_path_factory.mktemp("export") / "tiny-model")


@pytest.fixture
def card(exported, tmp_path):
    """Makes the card of the export for given facts and, as JSON, an evaluation report."""

    def make(report: dict | None = None, **facts) -> ModelCard:
        evaluations = []
        if report is not None:
            (tmp_path / "report.json").write_text(json.dumps(report), "utf-8")
            evaluations = [read_report(tmp_path / "report.json")]
        return ModelCard(make_card(exported, ModelFacts(**facts), (), evaluations))

    return make


# ---- metadata -------------------------------------------------------------------------------------------------------


def test_the_metadata_of_an_export_is_what_the_hub_reads(exported):
    data = ModelCard.load(exported / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "image-segmentation", "apache-2.0")
    assert {"referring-expression-segmentation", "sam"} <= set(data.tags)
    assert [(entry["src"], entry["text"]) for entry in data.widget] == [
        ("samples/picture.png", expression) for expression in EXPRESSIONS
    ]
    assert (exported / "samples/picture.png").is_file()


def test_facts_go_where_they_belong(card):
    made = card(
        name="A model",
        repo_id="someone/a-model",
        languages=["en", "de"],
        base_models=["facebook/sam-vit-base"],
        datasets=["someone/phrases"],
        limits=["Small things are missed."],
        training_data="Photographs of one street.",
        hardware="one GPU",
        training_hours=2,
        energy_kwh=0.75,
        emissions_kg=0.25,
        emissions_source="a meter",
    )
    data = made.data
    assert (data.language, data.base_model, data.datasets) == (
        ["en", "de"],
        ["facebook/sam-vit-base"],
        ["someone/phrases"],
    )
    assert data.co2_eq_emissions == {
        "emissions": 250.0,
        "source": "a meter",
        "training_type": "fine-tuning",
        "hardware_used": "one GPU",
    }
    assert made.text.lstrip().startswith("# A model") and 'model="someone/a-model"' in made.text
    assert section(made, "Limits").startswith("- Small things are missed.")
    impact = section(made, "Environmental impact")
    assert "| hardware | one GPU |\n| hours of training | 2 |\n| energy, kWh | 0.75 |" in impact
    assert "| emissions, kg of CO2 equivalent | 0.25 |" in impact


def test_the_index_holds_the_numbers_of_the_report_and_nothing_else(card):
    made = card(REPORT)
    values = {result.metric_name: result.metric_value for result in made.data.eval_results}
    assert values == {
        "gIoU": 0.6123,
        "cIoU": 0.5,
        "Pr@0.5": 0.7,
        "Pr@0.7": 0.6,
        "Pr@0.9": 0.25,
        "T-acc": 1.0,
        "box Acc@0.5": 0.4,
    }
    assert {(result.dataset_type, result.dataset_split) for result in made.data.eval_results} == {
        ("ssp-sam-scenes", "test")
    }


def test_without_a_report_there_is_no_index_and_no_number(card):
    made = card()
    assert made.data.eval_results is None and "model-index" not in yaml_dump(made.data.to_dict())
    assert section(made, "Results") == "Not measured."
    assert section(made, "Environmental impact").count("not measured") == 3
    assert made.data.license == "unknown" and "co2_eq_emissions" not in made.data.to_dict()


# ---- results --------------------------------------------------------------------------------------------------------


def test_the_table_tells_numbers_undefined_and_unmeasured_apart(card):
    results = section(card(REPORT), "Results")
    expected = "0.612 | 0.500 | 0.700 | not measured | 0.600 | not measured | 0.250 | – | 1.000 | 0.400"
    assert f"| all | 20 | {expected} |" in results
    assert "| noun | not stated | 0.750 |" + " not measured |" * (len(METRICS) - 1) in results
    assert "ssp-sam evaluate --model 'runs/a b' --scenes test --num-scenes 10\n" in results


@pytest.mark.parametrize("value", ["0.9", float("nan"), float("inf"), True, [0.9], {"value": 0.9}])
def test_what_is_no_number_is_not_measured(card, value):
    made = card(with_metrics({"all": {"gIoU": value}}))
    assert made.data.eval_results is None
    assert "| all | not stated |" + " not measured |" * len(METRICS) in section(made, "Results")


def test_a_report_without_metrics_over_all_expressions_says_so(card):
    made = card(with_metrics({}))
    assert made.data.eval_results is None
    assert "| all | not stated |" + " not measured |" * len(METRICS) in section(made, "Results")


def test_a_report_of_other_thresholds_is_refused(card):
    with pytest.raises(ValueError, match="with no_target_threshold 0.2, but the model is exported with 1.0"):
        card({**REPORT, "settings": {"family": "gres", "no_target_threshold": 0.2}})


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"protocols": {}}', '{"format": "another"}'])
def test_a_file_that_is_no_report_is_refused_by_name(tmp_path, content):
    (tmp_path / "report.json").write_text(content, "utf-8")
    with pytest.raises(ValueError, match=r"report\.json' is no evaluation report: "):
        read_report(tmp_path / "report.json")


# ---- facts ----------------------------------------------------------------------------------------------------------


def test_the_facts_of_the_embedded_checkpoint_are_complete():
    facts = read_facts(EMBEDDED_CHECKPOINT / FACTS_FILE)
    assert facts.licence == "apache-2.0" and facts.languages == ["en"] and facts.limits
    assert facts.training_data and facts.intended_use and facts.emissions_kg is None and facts.energy_kwh is None


def test_the_embedded_checkpoint_tells_the_time_of_all_its_stages():
    logs = sorted((ROOT / "docs" / "embedded_checkpoint").glob("*.jsonl"))
    minutes = [json.loads(log.read_text("utf-8").splitlines()[-1])["minutes"] for log in logs]
    facts = read_facts(EMBEDDED_CHECKPOINT / FACTS_FILE)
    assert len(logs) == 2 and facts.training_hours == round(sum(minutes) / 60, 2)
    assert facts.hardware == "one NVIDIA H100 GPU"


def test_facts_in_the_folder_of_a_model_are_those_of_its_card(tiny_checkpoint, tmp_path):
    shutil.copytree(tiny_checkpoint, tmp_path / "model")
    (tmp_path / "model" / FACTS_FILE).write_text("name: Mine\n", "utf-8")
    assert main(["export", str(tmp_path / "out"), "--model", str(tmp_path / "model"), "--no-check"]) == 0
    assert "\n# Mine\n" in (tmp_path / "out" / "README.md").read_text("utf-8")


HOSTILE = "a | b\n\n## Results\n| x |\n---\n<script>alert(1)</script> [click](http://x) `code` *em* _em_ a_b"


def test_what_authors_and_reports_say_opens_no_block_link_or_tag(card):
    facts = {"name": HOSTILE, "hardware": HOSTILE, "base_models": [HOSTILE], "emissions_source": HOSTILE}
    report = {**REPORT, "split": HOSTILE, "model": "a\n```\n<b>", "metrics": {"all": ALL, HOSTILE: ALL}}
    made = card(report, **facts, limits=[HOSTILE, "- a\n- b"], training_data=f"# T\n{HOSTILE}", intended_use=HOSTILE)
    headings = re.findall(r"^##? .*$", made.text, re.M)
    assert headings == re.findall(r"^##? .*$", card(REPORT).text.replace("# tiny-model", headings[0]), re.M)
    fences = re.findall(r"^```", made.text, re.M)
    outside = re.sub(r"^```.*?^```", "", made.text, flags=re.M | re.S)
    assert len(fences) % 2 == 0 and r"\<script" in outside and not re.search(r"(?<!\\)<script", outside)
    assert "## Results" in headings[0] and r"\[click\](http://x)" in headings[0] and r"\_em\_ a_b" in headings[0]
    assert re.search(r"^\| hardware \| a \\\| b .* \|$", section(made, "Environmental impact"), re.M)
    assert section(made, "Limits").count("\n- ") == 1 and "[click](http://x) `code`" in section(made, "Limits")
    assert section(made, "Training data").startswith(r"\# T a \| b ## Results")


# ---- samples --------------------------------------------------------------------------------------------------------


def test_the_embedded_checkpoint_comes_with_scenes_wherever_it_is_exported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "out", "--no-check"]) == 0
    widget = ModelCard.load("out/README.md").data.widget
    assert len(widget) == 6 and all(entry["text"] == entry["example_title"] for entry in widget)
    pictures = {entry["src"] for entry in widget}
    assert pictures == {path.as_posix()[4:] for path in Path("out").glob("samples/*")} and len(pictures) == 2
    assert all(Image.open(f"out/{picture}").size == (400, 300) for picture in pictures)


def test_scenes_are_always_the_same_and_one_expression_means_nothing(tmp_path):
    (tmp_path / "other").mkdir()
    samples, others = scene_samples(tmp_path), scene_samples(tmp_path / "other")
    for sample, other in zip(samples, others, strict=True):
        assert sample.expressions == other.expressions and sample.image.read_bytes() == other.image.read_bytes()
    assert "rocket" in samples[1].expressions


def test_another_model_comes_without_pictures(tiny_checkpoint, tmp_path):
    assert main(["export", str(tmp_path / "out"), "--model", tiny_checkpoint, "--no-check"]) == 0
    assert "widget" not in ModelCard.load(tmp_path / "out" / "README.md").data.to_dict()
    assert not (tmp_path / "out" / "samples").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("licence: mit\ncolour: red\n", "holds colour; a model's facts are name, repo_id, licence"),
        ("- a list\n", "holds"),
        ("a: [\n", "is no YAML"),
        (
            "emissions_kg: about two\n",
            "emissions_kg of a model's facts must be a number of at least 0, got 'about two'",
        ),
        ("repo_id: just-a-name\n", "repo_id of a model's facts must be owner/name, got 'just-a-name'"),
        ("limits: none\n", "limits of a model's facts must be a list, got 'none'"),
    ],
)
def test_facts_that_make_no_sense_are_refused(tmp_path, content, message):
    (tmp_path / "facts.yaml").write_text(content, "utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        read_facts(tmp_path / "facts.yaml")
