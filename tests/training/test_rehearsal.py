# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Former data in every batch: how batches are joined, when it is chosen, and what is said of what was forgotten."""

import json

import pytest
import torch
import yaml

from ssp_sam.training.arguments import OptimizationArguments
from ssp_sam.training.config_files import parse_settings
from ssp_sam.training.data.prepared import load_prepared
from ssp_sam.training.data.references import ReferCollator, ReferDataset
from ssp_sam.training.data_sources import build_scene_collator, rehearsed_settings
from ssp_sam.training.model_sources import build_model
from ssp_sam.training.rehearsal import describe_forgetting, join_batches
from ssp_sam.training.scenes.dataset import SceneDataset, render_scenes
from ssp_sam.training.schedule import Schedule
from ssp_sam.training.train import main
from tests.helpers.benchmark import tiny_benchmark
from tests.helpers.scenes import CANVAS, NUM_SCENES, tiny_scene_cache, tiny_scene_settings


@pytest.fixture(scope="module")
def scene_cache(tmp_path_factory):
    return tiny_scene_cache(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    return tiny_benchmark(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture
def settings_of(tmp_path, scene_cache, benchmark):
    """Reads the settings of a run of two steps on a benchmark that rehearses scenes, with changes."""

    def read(**changes):
        values = tiny_scene_settings(scene_cache) | {"output_dir": str(tmp_path / "run"), "eval_at_start": True}
        values |= {"dataset": str(benchmark), "rehearsal": "scenes", "rehearsal_images": 1} | changes
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({name: value for name, value in values.items() if value is not None}))
        return ["--config", str(path)]

    return read


def test_joined_batches_give_what_each_gives_alone(settings_of, scene_cache, benchmark):
    settings = parse_settings(settings_of())
    torch.manual_seed(0)
    model, processor = build_model(settings.model)
    model.eval()
    rows = load_prepared(benchmark, "train")
    references = ReferDataset(rows, every_expression=True)
    first = ReferCollator(processor)([references[0, index] for index in (0, 1, 2, 3)])
    rendered = render_scenes(scene_cache, split="train", num_scenes=NUM_SCENES, canvas_size=CANVAS)
    scenes = SceneDataset(rendered, split="train", expressions_per_image=3)
    second = build_scene_collator("referring", model, processor, settings.data)([scenes[0, 0], scenes[0, 1]])
    joined = join_batches(first, second, pad_token_id=processor.tokenizer.pad_token_id)
    assert joined["num_samples"] == 4 + 6 == len(joined["input_ids"])
    assert joined["image_index"].tolist() == [*first["image_index"].tolist(), 2, 2, 2, 3, 3, 3]
    assert joined["names"][0] == first["names"][0] and joined["names"][-1].startswith("scene")

    inputs = ("pixel_values", "input_ids", "attention_mask", "image_index")
    with torch.no_grad():
        masks = [model(**{name: batch[name] for name in inputs}).pred_masks for batch in (first, second, joined)]
    torch.testing.assert_close(torch.cat(masks[:2]), masks[2], atol=1e-4, rtol=1e-4)
    for name in ("mask_labels", "box_labels", "no_target_labels"):
        expected = torch.cat([first[name].float(), second[name].float()])
        torch.testing.assert_close(joined[name].float(), expected)


def test_a_batch_without_pixels_cannot_be_joined():
    with pytest.raises(ValueError, match="must both have pixel_values; one has not"):
        join_batches({"pixel_values": torch.zeros(1)}, {"image_embeddings": torch.zeros(1)}, pad_token_id=0)


@pytest.mark.parametrize(
    ("changes", "scenes"),
    [
        ({"init_from": "embedded", "train_dir": "here"}, True),
        ({"init_from": "embedded", "train_dir": "here", "rehearsal": "none"}, False),
        ({"init_from": "embedded", "dataset": "there"}, False),
        ({"train_dir": "here"}, False),
        ({}, False),
    ],
)
def test_scenes_are_rehearsed_where_a_custom_dataset_meets_the_embedded_checkpoint(settings_of, changes, scenes):
    former = rehearsed_settings(parse_settings(settings_of(**({"dataset": None, "rehearsal": "auto"} | changes))))
    assert (former is not None) is scenes
    if former is not None:
        assert former.data.uses_scenes and former.data.images_per_device == 1


def test_a_benchmark_or_a_custom_dataset_is_rehearsed_from_its_folder(settings_of, benchmark, tmp_path):
    former = rehearsed_settings(parse_settings(settings_of(rehearsal=str(benchmark))))
    assert former.data.dataset == str(benchmark) and former.data.train_dir is None
    (tmp_path / "metadata.jsonl").touch()
    former = rehearsed_settings(parse_settings(settings_of(rehearsal=str(tmp_path))))
    assert former.data.train_dir == str(tmp_path) and former.data.dataset is None
    assert former.optimization.output_dir != parse_settings(settings_of()).optimization.output_dir


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rehearsal": "nowhere"}, "rehearsal must be 'scenes', 'none', 'auto' or a folder, got 'nowhere'"),
        (
            {"feature_cache": "features"},
            r"rehearsal \('scenes'\) needs pixels in place of feature_cache, got 'features'",
        ),
        ({"dataset": None}, r"rehearsal \('scenes'\) needs train_dir or dataset, got neither"),
    ],
)
def test_what_cannot_be_rehearsed_is_refused(settings_of, changes, message):
    with pytest.raises(ValueError, match=message):
        rehearsed_settings(parse_settings(settings_of(**changes)))


def test_a_run_that_rehearses_says_what_it_forgot(settings_of, tmp_path, capsys):
    metrics = main(settings_of())
    said = capsys.readouterr().out
    assert "what was known before (4 generated scenes): gIoU" in said
    assert "what was known before" in (tmp_path / "run" / "report.md").read_text()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["rehearsed"]["after"] == metrics["rehearsal"] and "gIoU" in summary["rehearsed"]["before"]
    # Of a benchmark's two references and a scene's three expressions in each of two steps.
    assert summary["samples"] == 2 * (2 + 3)


def test_what_was_forgotten_is_told_by_the_metrics_that_both_have():
    before, after = {"gIoU": 0.774, "N-acc": 0.9, "T-acc": None}, {"gIoU": 0.7421, "N-acc": 0.88, "T-acc": 0.5}
    assert describe_forgetting("200 scenes", before, after) == (
        "what was known before (200 scenes): gIoU 0.774 -> 0.742, N-acc 0.900 -> 0.880"
    )


def test_few_items_are_passed_until_there_are_enough_steps():
    arguments = OptimizationArguments(num_epochs=2, min_steps=50, warmup_steps=0.1)
    assert Schedule(arguments, steps_per_epoch=3).total_steps == 50
    assert Schedule(arguments, steps_per_epoch=3).warmup_steps == 5
    assert Schedule(arguments, steps_per_epoch=40).total_steps == 80
