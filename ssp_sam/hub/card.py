# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The model card of an exported repository, made of facts: what is not known is called not measured or not stated."""

import dataclasses
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from safetensors import safe_open

from .. import __version__
from ..training.evaluation.report import NOT_MEASURED, markdown_table
from .results import Evaluation
from .samples import Sample

FACTS_FILE = "facts.yaml"  # in the folder of a model, what its card says beyond what the model tells
TEMPLATE = Path(__file__).resolve().parent / "card_template.md"
TAGS = ["referring-expression-segmentation", "referring-segmentation", "sam", "ssp-sam", "vision", "custom_code"]
# Settings of the processor that change what is measured.
THRESHOLDS = ("mask_threshold", "no_target_threshold", "min_mask_pixels")
# The families of metrics for readers: what they are called, and what the columns of a table mean.
PRECISION = "Pr@X is the fraction of expressions whose IoU is above X"
FAMILY_TEXTS = {
    "res": ("RES metrics", f"mIoU is the mean IoU, oIoU all intersections over all unions, {PRECISION}"),
    "gres": (
        "GRES metrics",
        "gIoU is the mean IoU, which is 1 where nothing is meant and nothing was found, cIoU all intersections over "
        f"all unions, {PRECISION} among those that mean something, N-acc the fraction of expressions without a target "
        "for which nothing was found, T-acc the fraction of those with a target for which something was",
    ),
    "phrasecut": ("PhraseCut's metrics", f"mIoU is the mean IoU, cIoU all intersections over all unions, {PRECISION}"),
}


@dataclass(frozen=True)
class ModelFacts:
    """What a model card says that the model itself does not tell. Each may be left out; the card then says so."""

    name: str | None = None
    repo_id: str | None = None  # where it will be published, as owner/name; examples in the card use it
    licence: str | None = None  # identifier of the licence of the weights, as the Hub spells it
    languages: list[str] = field(default_factory=list)  # two-letter codes of the languages of expressions
    base_models: list[str] = field(default_factory=list)  # Hub ids of the models that it was trained from
    datasets: list[str] = field(default_factory=list)  # Hub ids of training data that are on the Hub
    training_data: str | None = None  # a paragraph about the training data
    intended_use: str | None = None  # a paragraph about what it is for
    limits: list[str] = field(default_factory=list)  # sentences about what it cannot do
    hardware: str | None = None  # what it was trained on
    training_hours: float | None = None  # hours of training on it
    energy_kwh: float | None = None  # measured energy of training, kilowatt hours
    emissions_kg: float | None = None  # measured emissions of training, kilograms of CO2 equivalent
    emissions_source: str | None = None  # how they were measured

    def __post_init__(self):
        for name in ("languages", "base_models", "datasets", "limits"):
            if not isinstance(getattr(self, name), list):
                raise ValueError(f"{name} of a model's facts must be a list, got {getattr(self, name)!r}")
        for name in ("training_hours", "energy_kwh", "emissions_kg"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, (int, float)) and value >= 0):
                raise ValueError(f"{name} of a model's facts must be a number of at least 0, got {value!r}")
        if self.repo_id is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(self.repo_id)):
            raise ValueError(f"repo_id of a model's facts must be owner/name, got {self.repo_id!r}")


def read_facts(path: str | os.PathLike) -> ModelFacts:
    """
    Reads facts from a YAML file whose keys are the fields of [`ModelFacts`]; raises `OSError` or `ValueError` where it
    is no such file.
    """
    with open(path, encoding="utf-8") as file:
        try:
            content = yaml.safe_load(file)
        except yaml.YAMLError as error:
            raise ValueError(f"{os.fspath(path)!r} is no YAML: {' '.join(str(error).split())}") from error
    names = [entry.name for entry in dataclasses.fields(ModelFacts)]
    unknown = sorted(map(str, set(content) - set(names))) if isinstance(content, dict) else [repr(content)[:40]]
    if unknown:
        raise ValueError(f"{os.fspath(path)!r} holds {', '.join(unknown)}; a model's facts are {', '.join(names)}")
    return ModelFacts(**content)


def make_card(folder: Path, facts: ModelFacts, samples: Sequence[Sample], evaluations: Sequence[Evaluation]) -> str:
    """
    Returns the model card of an exported folder, with its YAML block: what people say about the model, images of the
    widget, what was measured. Configuration, processor and weights are in the folder already.

    Raises:
        ValueError: If an evaluation was made with other thresholds than the model is exported with.
    """
    config = json.loads((folder / "config.json").read_text("utf-8"))
    processor = json.loads((folder / "processor_config.json").read_text("utf-8"))
    for evaluation in evaluations:
        _check_thresholds(evaluation, processor)
    families = {evaluation.family for evaluation in evaluations}
    name = facts.name or (facts.repo_id or folder.name).split("/")[-1]
    data = ModelCardData(
        language=facts.languages or None,
        license=facts.licence or "unknown",
        library_name="transformers",
        pipeline_tag="image-segmentation",
        tags=TAGS,
        datasets=facts.datasets or None,
        base_model=facts.base_models or None,
        model_name=name,
        eval_results=[result for evaluation in evaluations for result in _index(evaluation)] or None,
        widget=_widget(samples) or None,
        co2_eq_emissions=_emissions(facts),
    )
    if data.eval_results is None:
        data.model_name = None
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        name=_plain(name),
        facts=_escaped(facts),
        repo_id=facts.repo_id or "owner/name",
        version=__version__,
        architecture=_architecture(folder, config),
        thresholds={name: processor[name] for name in THRESHOLDS},
        evaluations=[(_escaped_evaluation(evaluation), _table(evaluation)) for evaluation in evaluations],
        titles={family: title for family, (title, _) in FAMILY_TEXTS.items()},
        definitions=[text for family, (_, text) in FAMILY_TEXTS.items() if family in families],
        not_measured=NOT_MEASURED,
        samples=[(quote(sample.path), [_plain(text) for text in sample.expressions]) for sample in samples],
        weights=config["weights_sha256"],
    )
    return f"{str(card).rstrip()}\n"


# What authors and reports say is text: none of it may open a heading, a table, a link or a tag of the card.


def _plain(text: Any) -> str:
    """A text in one line that Markdown and HTML show as it is."""
    line = " ".join(str(text).split())
    line = re.sub(r"([\\`*\[\]<>|~&])|(?<![^\W_])(_)|(_)(?![^\W_])", lambda match: f"\\{match[0]}", line)
    return re.sub(r"^([#+-]|\d+(?=[.)]))", r"\\\1", line)


def _paragraph(text: Any) -> str:
    """A paragraph that may hold emphasis, links and code, but neither tags nor what opens another block."""
    line = re.sub(r"([<|&])", r"\\\1", " ".join(str(text).split()))
    return re.sub(r"^([#+*>~`-]|\d+(?=[.)]))", r"\\\1", line)


def _escaped(facts: ModelFacts) -> ModelFacts:
    """Facts as the body of the card shows them."""
    changes: dict[str, Any] = {
        "base_models": [_plain(model) for model in facts.base_models],
        "limits": [_paragraph(limit) for limit in facts.limits],
    }
    for name, escape in (("hardware", _plain), ("training_data", _paragraph), ("intended_use", _paragraph)):
        value = getattr(facts, name)
        changes[name] = None if value is None else escape(value)
    return dataclasses.replace(facts, **changes)


def _escaped_evaluation(evaluation: Evaluation) -> Evaluation:
    """An evaluation as the body of the card shows it; its command stands in a block of code."""
    command = evaluation.command and " ".join(evaluation.command.split())
    split = evaluation.split and _plain(evaluation.split)
    return dataclasses.replace(evaluation, dataset=_plain(evaluation.dataset), split=split, command=command)


def _check_thresholds(evaluation: Evaluation, processor: dict[str, Any]):
    for name in THRESHOLDS:
        measured_with = evaluation.settings.get(name)
        if measured_with is not None and measured_with != processor[name]:
            raise ValueError(
                f"the evaluation on {evaluation.dataset} was made with {name} {measured_with}, but the model is "
                f"exported with {processor[name]}; evaluate it again"
            )


def _index(evaluation: Evaluation) -> list[EvalResult]:
    """The entries of `model-index`: one per number, none for what was not measured."""
    return [
        EvalResult(
            task_type="image-segmentation",
            task_name="Referring segmentation",
            dataset_type=evaluation.dataset_type,
            dataset_name=evaluation.dataset,
            dataset_split=evaluation.split,
            dataset_revision=evaluation.fingerprint,
            metric_type=name.replace(" ", "_"),
            metric_name=name,
            metric_value=round(value, 4),
        )
        for name, value in evaluation.measured().items()
    ]


def _widget(samples: Sequence[Sample]) -> list[dict[str, str]]:
    return [
        {"src": sample.path, "text": expression, "example_title": expression}
        for sample in samples
        for expression in sample.expressions
    ]


def _emissions(facts: ModelFacts) -> dict[str, Any] | None:
    """The block that the Hub reads; nothing without a measurement."""
    if facts.emissions_kg is None:
        return None
    block = {
        "emissions": facts.emissions_kg * 1000,  # the Hub counts grams
        "source": facts.emissions_source,
        "training_type": "fine-tuning" if facts.base_models else "pre-training",
        "hardware_used": facts.hardware,
    }
    return {name: value for name, value in block.items() if value is not None}


def _architecture(folder: Path, config: dict[str, Any]) -> list[tuple[str, str]]:
    """What the exported files themselves tell, as lines of a table."""
    count, sizes = 0, set()
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - no mapping
                tensor = weights.get_slice(name)
                values = 1
                for side in tensor.get_shape():
                    values *= side
                count += values
                sizes.add(tensor.get_dtype())
    vision = config.get("vision_config")
    side = config["sam_config"]["vision_config"].get("image_size", 1024)
    return [
        ("parameters", f"{count:,} ({', '.join(sorted(sizes))})"),
        ("segmenter", f"SAM at {side} x {side} pixels"),
        ("semantic image tower", "SAM's own" if vision is None else vision.get("model_type", "clip_vision_model")),
        ("text tower", config["text_config"].get("model_type", "bert")),
        ("can tell that nothing is meant", "yes" if config.get("use_no_target_head", True) else "by mask size alone"),
    ]


def _table(evaluation: Evaluation) -> str | None:
    """The metrics as Markdown, a line per group after all expressions; `None` where it is not told which they are."""
    if not evaluation.metrics:
        return None
    rows = {"all": {}, **evaluation.rows}
    if evaluation.original:
        rows["all, original protocol"] = evaluation.original
    return markdown_table(rows, evaluation.metrics, evaluation.breakdown, _plain)
