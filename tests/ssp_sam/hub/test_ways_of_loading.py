# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The three ways in which a fresh process uses an exported model, and exports of earlier versions."""

import base64
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import pipeline

from ssp_sam import ReferringSegmentationPipeline, SspSamModel
from ssp_sam.deployment.endpoint_handler import EndpointHandler
from ssp_sam.training.data.masks import decode
from tests.helpers.comparison import results_agree
from tests.helpers.hub_fixtures import EXPRESSIONS, export_tiny, online, use_in_fresh_process
from tests.helpers.hub_server import LocalHub
from tests.helpers.models import make_image
from tests.helpers.odd_images import encoded
from tests.helpers.ways_of_use import WAYS, described

FIRST_EXPORT = Path(__file__).resolve().parents[2] / "fixtures" / "first_export.zip"
# The embedded checkpoint of version 0.1.0 as `ssp-sam export` wrote it, an image, and what it predicted there.
FORMER_EMBEDDED = FIRST_EXPORT.with_name("former_embedded.zip")
ABSENT, IMPORTED, BOTH = WAYS
# An image and expressions, as an endpoint is sent them.
REQUEST = {"inputs": {"image": base64.b64encode(encoded(make_image(48, 36))).decode(), "text": EXPRESSIONS}}


@pytest.fixture(scope="module")
def exported(tiny_checkpoint, tmp_path_factory) -> Path:
    return export_tiny(tiny_checkpoint, tmp_path_factory.mktemp("export") / "tiny-model")


@pytest.fixture(scope="module")
def first_export(tmp_path_factory) -> Path:
    """What `export_model` of version 0.1.0 wrote, and beside it `answers.json`, what that version answered."""
    folder = tmp_path_factory.mktemp("first-export")
    with zipfile.ZipFile(FIRST_EXPORT) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def plan(exported, first_export) -> dict:
    return {
        "repository": str(exported),
        "picture": str(exported / "samples" / "picture.png"),
        "expressions": EXPRESSIONS,
        "others": {"first export": str(first_export / "export")},
    }


@pytest.fixture(scope="module")
def with_package(plan, tmp_path_factory) -> dict[str, dict]:
    return use_in_fresh_process([IMPORTED, BOTH], plan, tmp_path_factory.mktemp("with"))


@pytest.fixture(scope="module")
def without_package(plan, exported, tmp_path_factory) -> tuple[dict[str, dict], Path]:
    """What happened in a process with an empty cache that loaded the same from a Hub by name, and its folder."""
    files = {str(path.relative_to(exported)): path.read_bytes() for path in exported.rglob("*") if path.is_file()}
    scratch = tmp_path_factory.mktemp("without")
    plan = {**plan, "repository": "someone/tiny", "refused": {"false weights": "someone/false"}}
    plan["others"] = {**plan["others"], "a folder": str(exported)}
    plan["served"] = {"folder": str(exported), "request": REQUEST}
    with LocalHub() as hub:
        hub.publish("someone/tiny", files)
        hub.publish("someone/false", files)
        hub.falsified.add("someone/false")
        return use_in_fresh_process([ABSENT], plan, scratch, **online(hub)), scratch


# Beside the package is where most other tests load models.
@pytest.fixture(scope="module", params=[pytest.param(w, marks=() if w == ABSENT else pytest.mark.long) for w in WAYS])
def used(request) -> tuple[str, dict]:
    """The way of use, and what happened in a fresh process."""
    if request.param == ABSENT:
        reports, _ = request.getfixturevalue("without_package")
    else:
        reports = request.getfixturevalue("with_package")
    return request.param, reports[request.param]


@pytest.fixture(scope="module")
def expected(tiny_checkpoint, exported) -> list[dict]:
    """The answers of the checkpoint that was exported."""
    segment = pipeline("referring-segmentation", model=tiny_checkpoint, device="cpu")
    return described(segment(str(exported / "samples" / "picture.png"), EXPRESSIONS))


def test_every_form_gives_the_answers_of_the_model_that_was_exported(used, expected):
    way, report = used
    assert len({result["mask"] for result in expected}) > 1
    for form in ("named task", "no task", "saved again", *(["a folder"] if way == ABSENT else [])):
        assert results_agree(report["answers"][form], expected), form


def test_the_repositorys_code_runs_only_where_the_package_is_absent(used):
    way, report = used
    package = "transformers_modules" if way == ABSENT else "ssp_sam"
    assert {module.split(".")[0] for module in report["modules"].values()} == {package}
    assert len(report["modules"]) == (9 if way == ABSENT else 8)


def test_without_package_and_trust_the_error_says_what_to_do(used):
    way, report = used
    if way == ABSENT:
        assert report["package"].startswith("ModuleNotFoundError")
        for name in ("trust unset", "trust refused"):
            assert report["refusals"][name].startswith("ValueError")
            assert "Please pass the argument `trust_remote_code=True`" in report["refusals"][name]
    else:
        assert report["refusals"] == {}


def test_a_repository_of_the_hub_is_cached_and_false_weights_are_refused(without_package, exported):
    reports, scratch = without_package
    assert reports[ABSENT]["refusals"]["false weights"].startswith(
        "OSError: model.safetensors of 'someone/false' does not hold the weights that were exported: SHA-256 "
    )
    [snapshot] = (scratch / "hf" / "hub" / "models--someone--tiny" / "snapshots").iterdir()
    assert (snapshot / "model.safetensors").read_bytes() == (exported / "model.safetensors").read_bytes()


def test_its_handler_serves_with_the_code_that_it_brings(without_package, tiny_checkpoint):
    def answers(found: list[dict]) -> list[dict]:
        return [{**one, "mask": Image.open(io.BytesIO(base64.b64decode(one["mask"])))} for one in found]

    reports, _ = without_package
    assert results_agree(answers(reports[ABSENT]["served"]), answers(EndpointHandler(tiny_checkpoint)(REQUEST)))


def test_an_export_of_the_first_version_answers_as_it_did_then(used, first_export):
    _, report = used
    then = json.loads((first_export / "answers.json").read_text("utf-8"))
    for result, earlier in zip(report["answers"]["first export"], then, strict=True):
        assert (result["label"], result["no_target"]) == (earlier["label"], earlier["no_target"])
        assert result["score"] == pytest.approx(earlier["score"], abs=1e-3)
        # Another processor may round a pixel at the border the other way.
        assert (int(result["mask"], 16) ^ int(earlier["mask"], 16)).bit_count() <= 3


def test_an_export_of_the_first_version_loads_every_weight(first_export):
    _, info = SspSamModel.from_pretrained(first_export / "export", output_loading_info=True)
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def test_the_export_of_the_former_embedded_checkpoint_gives_the_masks_that_it_gave(tmp_path):
    with zipfile.ZipFile(FORMER_EMBEDDED) as archive:
        archive.extractall(tmp_path)
    then = json.loads((tmp_path / "predictions.json").read_text("utf-8"))
    segment = pipeline("referring-segmentation", model=str(tmp_path / "export"), device="cpu")
    results = segment(str(tmp_path / "image.png"), [prediction["expression"] for prediction in then])
    for result, earlier in zip(results, then, strict=True):
        assert result["no_target"] == earlier["no_target"]
        assert result["score"] == pytest.approx(earlier["score"], abs=5e-3)
        found, mask = np.asarray(result["mask"]) > 0, decode(earlier["mask"])
        assert (found ^ mask).sum() <= 0.01 * max(mask.sum(), 1), earlier["expression"]


def test_what_the_installed_package_saves_names_no_code_that_is_not_there(exported, tmp_path):
    segment = pipeline("referring-segmentation", model=str(exported), device="cpu")
    assert type(segment) is ReferringSegmentationPipeline
    segment.save_pretrained(tmp_path)
    for path in tmp_path.glob("*.json"):
        assert "auto_map" not in path.read_text("utf-8"), path.name
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert not {"custom_pipelines", "weights_sha256"} & set(config)
    assert not list(tmp_path.glob("*.py"))
