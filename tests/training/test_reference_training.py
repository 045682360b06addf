# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Training on a prepared benchmark: items, batches, the stages of the recipe, and what a run leaves."""

import json

import numpy as np
import pytest
import torch
from accelerate.utils.dataclasses import get_module_class_from_name
from PIL import Image
from torch._dynamo.utils import counters as compile_counters

from ssp_sam import SspSamModel, SspSamProcessor
from ssp_sam.training.arguments import ModelArguments
from ssp_sam.training.data import references
from ssp_sam.training.data.prepared import load_prepared, read_image
from ssp_sam.training.data.references import ReferCollator, ReferDataset
from ssp_sam.training.model_sources import build_model
from ssp_sam.training.objectives import ReferringObjective
from ssp_sam.training.train import main
from tests.helpers.benchmark import TARGETS, tiny_benchmark, tiny_model_folder, tiny_row, write_benchmark
from tests.helpers.models import make_pipeline


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    return tiny_benchmark(tmp_path_factory.mktemp("benchmark"))


@pytest.fixture(scope="module")
def rows(benchmark):
    return load_prepared(benchmark, "train")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return tiny_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def train(benchmark, model_folder, tmp_path):
    """Runs a training of seconds with some settings; returns its folder."""

    def run(name="run", **settings):
        settings = {
            "dataset": benchmark,
            "init_from": model_folder,
            "output_dir": tmp_path / name,
            "images_per_device": 4,
            "num_epochs": 1,
            "warmup_steps": 0,
            "learning_rate": 1e-3,
            "iou_loss_weight": 0,
            "log_steps": 1,
            "num_drawings": 0,
            **settings,
        }
        main([word for key, value in settings.items() for word in (f"--{key}", str(value))])
        return tmp_path / name

    return run


def log_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def state_of(folder) -> dict[str, torch.Tensor]:
    return SspSamModel.from_pretrained(folder).state_dict()


# ---- items and batches ----------------------------------------------------------------------------------------------


def test_an_item_depends_on_seed_epoch_and_index_alone(rows):
    def drawn(dataset, epoch, index):
        item = dataset[epoch, index]
        return item["name"], item["expression"], item["offset_draws"]

    first, again = (ReferDataset(rows, seed=5, random_offset=True) for _ in range(2))
    drawn(first, 7, 2)
    assert drawn(first, 3, 4) == drawn(again, 3, 4)
    assert drawn(first, 3, 4)[2] != drawn(first, 4, 4)[2]
    assert {drawn(first, epoch, 1)[1] for epoch in range(12)} == set(rows[1]["expressions"])


def test_training_draws_one_sentence_per_reference_and_evaluation_takes_all(rows):
    assert len(ReferDataset(rows)) == len(rows)
    every = ReferDataset(rows, every_expression=True)
    assert [every[0, n]["expression"] for n in range(len(every))] == [s for row in rows for s in row["expressions"]]


def test_a_batch_is_what_the_processor_makes_of_its_items(rows, model_folder):
    processor = SspSamProcessor.from_pretrained(model_folder)
    items = [ReferDataset(rows)[0, index] for index in range(6)]
    batch = ReferCollator(processor)(items)
    expected = processor(
        images=[item["image"] for item in items],
        text=[[item["expression"]] for item in items],
        segmentation_maps=[[item["mask"]] for item in items],
        boxes=[[item["box_xyxy"]] for item in items],
    )
    for name in ("pixel_values", "semantic_pixel_values", "input_ids", "mask_labels", "box_labels", "no_target_labels"):
        assert torch.equal(batch[name], expected[name]), name
    assert batch["no_target_labels"].tolist() == [0, 0, 1, 0, 0, 1]
    assert batch["names"][3] == "tiny/train/3"


def test_expressions_of_one_picture_share_it(rows, model_folder):
    collate = ReferCollator(SspSamProcessor.from_pretrained(model_folder), with_truth=True)
    every = ReferDataset(rows, every_expression=True)
    batch = collate([every[0, n] for n in range(5)])
    assert batch["image_index"].tolist() == [0, 0, 1, 1, 1]
    assert len(batch["pixel_values"]) == 2 and len(batch["true_masks"]) == 5


def test_an_image_is_read_once_for_items_that_follow_each_other(rows, monkeypatch):
    read = []
    monkeypatch.setattr(references, "read_image", lambda row: read.append(row["ref_id"]) or read_image(row))
    dataset = ReferDataset(rows)
    for index in (0, 0, 1, 0):
        assert dataset[index]["image"].tobytes() == read_image(rows[index]).tobytes()
    assert read == [rows[index]["ref_id"] for index in (0, 1, 0)]


def test_the_semantic_view_moves_with_the_epoch_and_its_boxes_with_it(rows, model_folder):
    processor = SspSamProcessor.from_pretrained(model_folder)
    dataset, collate = ReferDataset(rows, random_offset=True), ReferCollator(processor)
    batches = [collate([dataset[epoch, 0]]) for epoch in range(8)]
    tops = {int(batch["semantic_pixel_values"][0].abs().sum((0, 2)).nonzero()[0]) for batch in batches}
    assert len(tops) > 1, "the picture is wide, so it moves up and down"
    for batch in batches:
        top = int(batch["semantic_pixel_values"][0].abs().sum((0, 2)).nonzero()[0])
        height = 10 / 40  # of 40 pixels in width, which fill the canvas
        middle = top / 32 + 8 / 40
        assert batch["box_labels"][0, 1] == pytest.approx(middle, abs=0.02)
        assert batch["box_labels"][0, 3] == pytest.approx(height, abs=0.02)
        assert torch.equal(batch["mask_labels"], batches[0]["mask_labels"])


def test_references_without_what_is_learned_are_refused_by_name(model_folder, tmp_path):
    processor = SspSamProcessor.from_pretrained(model_folder)
    folder = write_benchmark(tmp_path, {"train": [tiny_row(0, masks=[]), tiny_row(1, box_xyxy=None)]})
    dataset = ReferDataset(load_prepared(folder, "train"))
    with pytest.raises(ValueError, match="reference tiny/train/0 has a target but no mask; use it for box_only"):
        ReferCollator(processor)([dataset[0, 0]])
    with pytest.raises(ValueError, match="reference tiny/train/1 has a target but no box"):
        ReferCollator(processor, box_only=True)([dataset[0, 1]])
    assert "mask_labels" not in ReferCollator(processor, box_only=True)([dataset[0, 0]])


# ---- runs -----------------------------------------------------------------------------------------------------------


def test_box_training_and_then_masks_leave_a_model_that_loads(train, benchmark):
    boxes = train("boxes", box_only="true")
    assert {"l1", "giou", "no_target"} <= log_of(boxes)[0].keys()
    assert "dice" not in log_of(boxes)[0]
    assert log_of(boxes)[-1]["metrics"]["all"].keys() == {"samples", "box IoU", "box Acc@0.5"}
    masks = train("masks", init_from=boxes / "final", gradient_checkpointing="true", export_dtype="float16")
    log = log_of(masks)
    assert [entry["step"] for entry in log] == [1, 2, 3, 3]
    assert {"dice", "focal", "l1", "giou", "loss", "grad_norm", "lr", "epoch"} <= log[0].keys()
    assert log[-1]["metrics"]["all"]["samples"] == sum(map(len, load_prepared(benchmark, "val")["expressions"]))
    assert log[-1]["metrics"].keys() == {"all", "one", "many", "none"}
    model = SspSamModel.from_pretrained(masks / "final", dtype="auto")
    assert model.dtype == torch.float16
    assert sorted(path.name for path in masks.iterdir()) == [
        "checkpoint-3", "curves.png", "final", "log.jsonl", "report.md", "settings.json", "summary.json"
    ]  # fmt: skip


def test_the_mask_decoder_stays_as_it_is_for_its_frozen_epochs(train, model_folder):
    settings = {"num_epochs": 2, "mask_decoder_frozen_epochs": 1, "checkpoint_epochs": 1, "keep_checkpoints": 9}
    folder = train(**settings, weight_decay=0.5)
    before, frozen, after = (state_of(f) for f in (model_folder, folder / "checkpoint-3/model", folder / "final"))
    decoder = [name for name in before if name.startswith("sam.mask_decoder.") and "iou_prediction" not in name]
    assert all(torch.equal(before[name], frozen[name]) for name in decoder)
    assert any(not torch.equal(before[name], after[name]) for name in decoder)
    name = "fusion.projection.weight"
    assert not torch.equal(before[name], frozen[name])


def test_what_the_configuration_freezes_stays_as_it_is(train, model_folder):
    before, after = state_of(model_folder), state_of(train() / "final")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in changed if name.startswith(("vision_model.", "sam.vision_encoder.", "sam.prompt"))]
    assert {"text_model.embeddings.word_embeddings.weight", "box_head.layers.0.weight"} & changed


def test_accumulated_batches_equal_one_large_batch(train, tmp_path):
    settings = {"init_from": tiny_model_folder(tmp_path / "model", dropout=False), "num_epochs": 0.3, "log_steps": 1}
    large = log_of(train("large", images_per_device=4, **settings))[0]
    small = log_of(train("small", images_per_device=2, gradient_accumulation_steps=2, **settings))[0]
    for name in ("loss", "dice", "l1", "grad_norm"):
        assert small[name] == pytest.approx(large[name], rel=2e-4), name


def test_the_averaged_weights_are_evaluated_and_exported(train):
    folder = train(ema_decay=0.5, num_epochs=2, eval_at_start="true")
    trained, exported = state_of(folder / "checkpoint-6/model"), state_of(folder / "final")
    assert not torch.equal(trained["fusion.projection.weight"], exported["fusion.projection.weight"])
    assert [entry["step"] for entry in log_of(folder) if entry["event"] == "eval"] == [0, 6]


def test_the_backend_of_the_compiler_is_the_one_asked_for(train, monkeypatch):
    backends = []
    monkeypatch.setattr(ReferringObjective, "compile", lambda self, backend: backends.append(backend))
    train(compile_backend="aot_eager", num_epochs=0.3)
    assert backends == ["aot_eager"]


@pytest.mark.long
def test_a_compiled_step_is_the_same_step(train, tmp_path):
    settings = {"init_from": tiny_model_folder(tmp_path / "model", dropout=False), "num_epochs": 0.3}
    plain = log_of(train("plain", **settings))[0]
    compile_counters.clear()
    compiled = log_of(train("compiled", compile_backend="eager", **settings))[0]
    assert compile_counters["stats"]["calls_captured"] > 1000, "next to nothing was traced"
    assert not compile_counters["graph_break"]
    for name in ("loss", "dice", "l1", "grad_norm"):
        assert compiled[name] == pytest.approx(plain[name], rel=1e-4), name


def test_the_newest_and_the_best_checkpoints_are_kept(train, monkeypatch):
    scores = iter([0.1, 0.7, 0.3, 0.2])

    def measured(objective, batches, device, **options):
        return {"all": {"gIoU": next(scores)}}

    monkeypatch.setattr("ssp_sam.training.data_sources.evaluate_references", measured)
    settings = {"num_epochs": 4, "eval_epochs": 1, "checkpoint_epochs": 1, "best_metric": "gIoU"}
    folder = train(**settings, keep_checkpoints=1, export_best="true")
    assert sorted(path.name for path in folder.glob("checkpoint-*")) == ["checkpoint-12", "checkpoint-6"]
    best, final = state_of(folder / "checkpoint-6/model"), state_of(folder / "final")
    assert all(torch.equal(best[name], tensor) for name, tensor in final.items())


def test_a_loss_that_is_not_finite_names_its_references(train, monkeypatch):
    monkeypatch.setattr("ssp_sam.modeling_ssp_sam.losses.focal_loss", lambda logits, *_: logits.sum() * float("nan"))
    with pytest.raises(FloatingPointError, match=r"loss is nan at step 0 .*references \['tiny/train/\d+', "):
        train()


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_decoded_is_one_sentence(train, tmp_path, capsys, workers):
    whole = tiny_row(3)["image"]["bytes"]
    rows = [tiny_row(number) for number in range(3)] + [tiny_row(3, image={"bytes": whole[:-40], "path": None})]
    damaged = write_benchmark(tmp_path / "damaged", {"train": rows, "val": rows[:1]})
    with pytest.raises(ValueError, match="^reference tiny/train/3: could not decode .*damaged or cut off") as caught:
        train(dataset=damaged, dataloader_workers=workers)
    assert "\n" not in str(caught.value)


def test_workers_build_the_same_batches(train):
    inline, workers = (state_of(train(f"run{n}", dataloader_workers=n) / "final") for n in (0, 2))
    assert all(torch.equal(inline[name], tensor) for name, tensor in workers.items())


def test_a_second_run_does_not_overwrite_the_first_unasked(train):
    train()
    with pytest.raises(ValueError, match="holds checkpoint-3 of an earlier run; continue it with --resume auto"):
        train()
    assert train(overwrite_output_dir="true", num_epochs=0.3).joinpath("checkpoint-1").is_dir()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"expressions": ["the blue box"]}, "trained with references [0-9a-f]{16}, this run has [0-9a-f]{16}; use"),
        ({"optimizer": "muon"}, "trained with optimizer adamw, this run has muon; use the same"),
        ({"lora_rank": 2}, "trained with lora_rank 0, this run has 2; use the same"),
    ],
)
def test_a_run_that_would_learn_something_else_is_not_resumed(train, tmp_path, changes, message):
    folder = train()
    used = (folder / "settings.json").read_text()
    if "lora_rank" in changes:
        pytest.importorskip("peft")
    expressions = changes.pop("expressions", None)
    if expressions:
        rows = [tiny_row(number, TARGETS[number % 3]) for number in range(17)]
        rows[3]["expressions"] = expressions
        changes["dataset"] = write_benchmark(tmp_path / "other", {"train": rows[:12], "val": rows[12:]})
    with pytest.raises(ValueError, match=message):
        train(resume="auto", num_epochs=2, **changes)
    assert (folder / "settings.json").read_text() == used


@pytest.mark.parametrize("weight", ["foreground_loss_weight", "contrast_loss_weight"])
def test_boxes_alone_go_without_the_losses_that_need_masks(train, weight):
    with pytest.raises(ValueError, match=f"box_only has no masks.*'{weight}': 2"):
        train(box_only="true", **{weight: 2})


def test_predictions_are_drawn_at_evaluations(train):
    folder = train(num_drawings=2)
    drawings = sorted((folder / "drawings").iterdir())
    assert [path.name for path in drawings] == ["step_0000003_0.png", "step_0000003_1.png"]
    assert np.asarray(Image.open(drawings[0])).std() > 10


def test_a_model_is_built_around_towers_with_the_presets_fields(tmp_path):
    pipe = make_pipeline(single_tower=False)
    for name in ("sam", "vision_model", "text_model"):
        getattr(pipe.model, name).save_pretrained(tmp_path / name)
    pipe.tokenizer.save_pretrained(tmp_path / "text_model")
    towers = {"sam": tmp_path / "sam", "vision": tmp_path / "vision_model", "text": tmp_path / "text_model"}
    arguments = ModelArguments(
        init_from_towers={name: str(path) for name, path in towers.items()},
        preset="paper_b16",
        model_config={"num_prompt_tokens": 5, "adapter_dim": 16, "num_surgery_layers": 1},
    )
    model, processor = build_model(arguments)
    assert not model.config.use_no_target_head and model.config.num_prompt_tokens == 5
    assert {m.eps for m in model.sam.mask_decoder.transformer.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-5}
    assert torch.equal(
        model.text_model.embeddings.word_embeddings.weight, pipe.model.text_model.embeddings.word_embeddings.weight
    )
    assert processor.min_mask_pixels == 50


def test_patches_of_another_canvas_are_not_told_what_is_meant(train):
    with pytest.raises(ValueError, match=r"foreground_loss_weight \(1.0\) needs patches that lie as SAM's canvas does"):
        train(foreground_loss_weight=1)


def test_the_layers_that_must_not_be_split_are_there(model_folder):
    objective = ReferringObjective(SspSamModel.from_pretrained(model_folder), None)
    assert {"SspSamFusionLayer", "SspSamLinguisticAdapter"} <= set(objective._no_split_modules)
    assert all(get_module_class_from_name(objective, name) for name in objective._no_split_modules)
