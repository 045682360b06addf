# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Training on generated scenes: batches, losses, schedule, arguments, checkpoints, the launched script."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState
from PIL import Image

from ssp_sam import SspSamModel, SspSamProcessor
from ssp_sam.training.arguments import OptimizationArguments
from ssp_sam.training.auxiliary_heads import DenseHeads
from ssp_sam.training.checkpointing import find_checkpoint
from ssp_sam.training.config_files import parse_settings
from ssp_sam.training.data.sampler import StepBatchSampler
from ssp_sam.training.data_sources import build_scene_collator
from ssp_sam.training.evaluation.validation import evaluation_keys
from ssp_sam.training.loop import TrainingLoop
from ssp_sam.training.model_sources import build_model
from ssp_sam.training.optimizers import build_optimizer
from ssp_sam.training.scenes import dataset
from ssp_sam.training.scenes.dataset import SceneDataset, render_scenes, to_canvas
from ssp_sam.training.scenes.generator import generate_scene
from ssp_sam.training.scenes.scene import flip_scene
from ssp_sam.training.scenes.tokenizer import build_word_tokenizer
from ssp_sam.training.scenes.words import VOCABULARY_WORDS
from ssp_sam.training.train import build_objective, main
from tests.helpers.gradients import lowered_by_a_step
from tests.helpers.processes import run_in_processes
from tests.helpers.scenes import CANVAS, NUM_SCENES, tiny_scene_cache, tiny_scene_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def scene_cache(tmp_path_factory) -> Path:
    return tiny_scene_cache(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def config(tmp_path, scene_cache) -> Path:
    """A configuration file of a run of seconds."""
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(tiny_scene_settings(scene_cache) | {"output_dir": str(tmp_path / "run")}))
    return path


def make_stage(config: Path, objective: str, scene_cache: Path, **drawn):
    """Returns the objective of a stage, its collator and its dataset."""
    settings = parse_settings(["--config", str(config), "--objective", objective])
    torch.manual_seed(0)
    model, processor = build_model(settings.model)
    dataset = SceneDataset(
        render_scenes(scene_cache, split="train", num_scenes=NUM_SCENES, canvas_size=CANVAS),
        split="train",
        **drawn,
    )
    collate = build_scene_collator(objective, model, processor, settings.data)
    return build_objective(settings, model, None), collate, dataset


# ---- batches --------------------------------------------------------------------------------------------------------


def test_batches_equal_what_the_processor_makes_of_the_same_scenes(config, scene_cache):
    objective, collate, dataset = make_stage(config, "referring", scene_cache, expressions_per_image=4)
    model = objective.model
    processor = SspSamProcessor.from_model_config(model.config, build_word_tokenizer(VOCABULARY_WORDS))
    items = [dataset[0, index] for index in range(6)]
    scenes = [generate_scene(index, "train") for index in range(6)]
    batch = collate(items)
    referrals = [item["referrals"] for item in items]
    maps = [[s.mask(r.targets) if r.targets else None for r in rs] for s, rs in zip(scenes, referrals, strict=True)]
    expected = processor(
        images=[scene.image for scene in scenes],
        text=[[referral.expression for referral in rs] for rs in referrals],
        segmentation_maps=maps,
    )
    for name in ("input_ids", "attention_mask", "image_index"):
        assert torch.equal(batch[name], expected[name]), name
    assert torch.equal(batch["no_target_labels"], expected["no_target_labels"])
    torch.testing.assert_close(batch["pixel_values"], expected["pixel_values"], atol=1e-5, rtol=0)
    torch.testing.assert_close(batch["box_labels"], expected["box_labels"], atol=1e-5, rtol=0)
    # The processor follows the paper and rounds masks outwards; training keeps the nearest pixel.
    mine, theirs = batch["mask_labels"] > 0, expected["mask_labels"] > 0
    assert (mine & ~theirs).sum() <= 0.02 * mine.sum()
    assert (mine & theirs).sum() >= 0.7 * (mine | theirs).sum()


def test_a_mirrored_scene_is_mirrored_on_the_canvas(scene_cache):
    scenes = render_scenes(scene_cache, split="train", num_scenes=NUM_SCENES, canvas_size=CANVAS)
    dataset = SceneDataset(scenes, split="train", flip_probability=1.0)
    for index in range(NUM_SCENES):
        scene = flip_scene(generate_scene(index, "train"))
        item = dataset[0, index]
        assert item["scene"].objects == scene.objects
        canvas = to_canvas(scene.image, CANVAS, Image.Resampling.BILINEAR).astype(int)
        assert np.abs(item["image"].astype(int) - canvas).max() <= 2, "up to rounding of the resize"


def test_dense_labels_count_each_patch_once(config, scene_cache):
    _, collate, dataset = make_stage(config, "towers", scene_cache, prompts_per_image=2)
    items = [dataset[0, index] for index in range(4)]
    batch = collate(items)
    fractions = batch["region_fractions"]
    torch.testing.assert_close(fractions.sum(1), torch.ones(4, 8, 8))
    whole = np.stack([item["instance_map"] for item in items])
    assert fractions[:, 1].sum() * 16 == pytest.approx((whole == 1).sum())
    assert fractions[2, 0, 3, 5] == pytest.approx((whole[2, 12:16, 20:24] == 0).mean())


def test_patches_are_told_the_box_of_the_object_that_covers_most_of_them():
    heads = DenseHeads(num_channels=2, num_nouns=3, num_colours=2)
    torch.nn.init.zeros_(heads.box_reader.weight)  # every patch says 0.5 for all four coordinates
    fractions = torch.tensor([[0.1, 0.6, 0.3], [0.4, 0.2, 0.4], [0.0, 0.0, 1.0]]).T.reshape(1, 3, 1, 3)
    boxes = torch.tensor([[[0.0] * 4, [0.5, 0.5, 0.25, 0.25], [0.5, 0.9, 0.5, 0.5]]])
    classes = torch.tensor([[0, 1, 2]])
    result = heads(torch.zeros(1, 2, 1, 3), fractions, classes, classes % 2, boxes)
    # The patches are 0.9, 0.6 and 1.0 foreground; the first belongs to object 1, the others to object 2.
    assert result["patch_box_loss"].item() == pytest.approx((0.5 + 0.4 + 0.4) / 3)
    parts = result["noun_loss"] + result["colour_loss"] + 2 * result["patch_box_loss"]
    assert result["dense"].item() == pytest.approx(parts.item())


def test_region_boxes_are_those_of_the_canvas(config, scene_cache):
    _, collate, dataset = make_stage(config, "towers", scene_cache, prompts_per_image=2, flip_probability=0.5)
    items = [dataset[0, index] for index in range(4)]
    boxes = collate(items)["region_boxes"]
    for number, item in enumerate(items):
        rows, columns = np.nonzero(item["instance_map"] == 1)
        seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / CANVAS
        x, y, width, height = boxes[number, 1].tolist()
        told = [x - width / 2, y - height / 2, x + width / 2, y + height / 2]
        np.testing.assert_allclose(told, seen, atol=1.5 / CANVAS)  # the canvas loses thin tips


def test_clicks_lie_in_their_masks_and_boxes_around_them(config, scene_cache):
    _, collate, dataset = make_stage(config, "towers", scene_cache, prompts_per_image=4, flip_probability=0.5)
    batch = collate([dataset[3, index] for index in range(8)])
    x, y = batch["input_points"][:, :, 0].long().unbind(-1)
    image, prompt = torch.meshgrid(torch.arange(8), torch.arange(4), indexing="ij")
    assert batch["mask_labels"][image, prompt, y, x].all()
    assert batch["input_boxes"].min() >= 0 and batch["input_boxes"].max() <= CANVAS - 1
    assert 0 < batch["use_box"].float().mean() < 1


def test_an_item_depends_on_seed_epoch_and_index_alone(scene_cache):
    scenes = render_scenes(scene_cache, split="train", num_scenes=NUM_SCENES, canvas_size=CANVAS)
    dataset = SceneDataset(scenes, split="train", seed=5, expressions_per_image=4, flip_probability=0.5)
    first = dataset[2, 7]
    dataset[9, 1]
    again = dataset[2, 7]
    assert first["referrals"] == again["referrals"]
    assert np.array_equal(first["image"], again["image"])
    others = [[r.expression for r in dataset[epoch, 7]["referrals"]] for epoch in range(3, 8)]
    assert any(other != [r.expression for r in first["referrals"]] for other in others)


def test_every_scene_is_seen_once_per_epoch_over_all_processes():
    samplers = [iter(StepBatchSampler(num_items=12, batch_size=2, seed=1, rank=r, world_size=2)) for r in (0, 1)]
    keys = [key for _ in range(6) for sampler in samplers for key in next(sampler)]
    for epoch in (0, 1):
        assert sorted(index for e, index in keys if e == epoch) == list(range(12))
    resumed = iter(StepBatchSampler(num_items=12, batch_size=2, seed=1, rank=1, world_size=2, first_step=4))
    assert next(resumed) == keys[4 * 4 + 2 : 4 * 4 + 4]


def test_items_of_a_group_follow_each_other_in_an_order_of_their_own_each_epoch():
    groups = np.array([0, 1, 2, 0, 1, 2, 0, 3])
    sampler = iter(StepBatchSampler(num_items=8, batch_size=8, seed=1, groups=groups))
    orders = [[index for _, index in next(sampler)] for _ in range(6)]
    assert all(sorted(order) == list(range(8)) for order in orders)
    for order in orders:
        runs = [group for place, group in enumerate(groups[order]) if place == 0 or group != groups[order][place - 1]]
        assert sorted(runs) == [0, 1, 2, 3]
    assert len({tuple(groups[order]) for order in orders}) > 1 and len(set(map(tuple, orders))) > 3


def test_evaluation_takes_every_scene_once():
    batches = [evaluation_keys(11, 2, rank, 3) for rank in range(3)]
    assert sorted(index for share in batches for keys in share for _, index in keys) == list(range(11))


def test_rendering_continues_where_it_stopped(tmp_path, monkeypatch):
    rendered = []

    def watched(seed, split):
        rendered.append(seed)
        if seed == 5:
            raise KeyboardInterrupt
        return generate_scene(seed, split)

    monkeypatch.setattr(dataset, "SCENES_PER_FILE", 2)
    monkeypatch.setattr(dataset, "generate_scene", watched)
    settings = {"split": "train", "num_scenes": 6, "canvas_size": 16}
    with pytest.raises(KeyboardInterrupt):
        render_scenes(tmp_path, **settings)
    assert rendered == [0, 1, 2, 3, 4, 5]
    monkeypatch.setattr(dataset, "generate_scene", lambda seed, split: rendered.append(seed) or generate_scene(seed))
    scenes = render_scenes(tmp_path, **settings)
    assert rendered[6:] == [4, 5], "finished files stay"
    assert len(render_scenes(tmp_path, **settings)) == 6 and len(rendered) == 8
    sizes = [list(generate_scene(seed).image.shape[:2]) for seed in range(6)]
    assert scenes["size_hw"][:] == sizes


def test_several_processes_render_what_one_does(tmp_path):
    settings = {"split": "validation", "num_scenes": 5, "canvas_size": 16, "first_seed": 3}
    one, two = (render_scenes(tmp_path / str(n), **settings, num_workers=n) for n in (1, 2))
    assert one.to_dict() == two.to_dict()


# ---- losses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["towers", "referring"])
def test_a_small_step_against_the_gradient_lowers_the_loss(config, scene_cache, stage):
    drawn = {"prompts_per_image": 2} if stage == "towers" else {"expressions_per_image": 3}
    objective, collate, dataset = make_stage(config, stage, scene_cache, **drawn)
    batch = collate([dataset[0, index] for index in range(2)])
    objective.train()
    assert lowered_by_a_step(objective, lambda: objective(batch, 0.4)[0]) > 0.1  # it was 0.98 and 1.00
    terms = objective(batch, 0.4)[1]
    assert {"dice", "focal", "noun_loss", "noun_accuracy", "iou_error"} <= terms.keys()


def test_the_towers_stage_leaves_language_alone(config, scene_cache):
    objective, collate, dataset = make_stage(config, "towers", scene_cache, prompts_per_image=2)
    objective(collate([dataset[0, 0]]))[0].backward()
    with_gradient = {name for name, p in objective.named_parameters() if p.grad is not None}
    trained = {name for name, p in objective.named_parameters() if p.requires_grad}
    assert with_gradient == trained, "what trains must always get a gradient, or processes would wait for it"
    assert all(name.startswith(("model.sam.", "dense_heads.")) for name in trained)


def test_box_only_training_stops_before_the_mask_decoder(config, scene_cache):
    objective, collate, dataset = make_stage(config, "referring", scene_cache, expressions_per_image=2)
    objective.box_only = True
    loss, terms = objective(collate([dataset[0, 0], dataset[0, 1]]))
    loss.backward()
    assert {"l1", "giou", "no_target", "foreground", "similarity"} <= terms.keys()
    assert not {"dice", "focal", "iou_error"} & terms.keys()
    assert all(p.grad is None for p in objective.model.sam.mask_decoder.parameters())
    assert objective.model.text_model.embeddings.word_embeddings.weight.grad.abs().sum() > 0


def test_learning_rates_follow_the_first_name_that_fits(config, scene_cache):
    objective, _, _ = make_stage(config, "referring", scene_cache)
    ratios = {".vision_encoder.": 0.1, ".sam.": 0.5}
    for optimizer in ("adamw", "muon"):
        arguments = OptimizationArguments(optimizer=optimizer, learning_rate_ratios=ratios)
        built = build_optimizer(objective, arguments)
        of = {id(p): group["lr_ratio"] for group in built.param_groups for p in group["params"]}
        ratio = {name: of[id(p)] for name, p in objective.named_parameters() if p.requires_grad}
        assert ratio["model.sam.vision_encoder.patch_embed.projection.weight"] == 0.1
        assert ratio["model.sam.mask_decoder.iou_token.weight"] == 0.5
        assert ratio["model.text_model.embeddings.LayerNorm.bias"] == 1.0
        matrix = ratio["model.sam.vision_encoder.layers.0.attn.qkv.weight"]
        assert matrix == pytest.approx(0.1 if optimizer == "adamw" else 2.0)


def test_norms_biases_and_embeddings_do_not_decay(config, scene_cache):
    objective, _, _ = make_stage(config, "referring", scene_cache)
    names = {id(p): name for name, p in objective.named_parameters()}
    groups = build_optimizer(objective, OptimizationArguments()).param_groups
    decayed = {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    spared = set(names.values()) - decayed
    assert "model.text_model.encoder.layer.0.attention.self.query.weight" in decayed
    assert not any(name.endswith("bias") or "norm" in name.lower() for name in decayed)
    assert "model.text_model.embeddings.word_embeddings.weight" in spared
    assert "model.sam.vision_encoder.pos_embed" in spared
    assert "model.sam.mask_decoder.mask_tokens.weight" in spared


# ---- runs -----------------------------------------------------------------------------------------------------------


def test_a_resumed_run_equals_an_uninterrupted_one(config, tmp_path, monkeypatch):
    # The checkpoint of step 5 lies between the log's lines of steps 4 and 6.
    common = ["--config", str(config), "--max_steps", "9", "--prompt_probability", "0.5", "--log_steps", "2"]
    common += ["--ema_decay", "0.9", "--optimizer", "muon"]
    main([*common, "--output_dir", str(tmp_path / "whole")])

    next_batch = TrainingLoop._next_batch

    def fall_over(self):
        if self.state["step"] == 7:
            raise KeyboardInterrupt
        return next_batch(self)

    parts = [*common, "--output_dir", str(tmp_path / "parts"), "--checkpoint_minutes", "1e-9"]
    monkeypatch.setattr(TrainingLoop, "_next_batch", fall_over)
    with pytest.raises(KeyboardInterrupt):
        main(parts)
    monkeypatch.setattr(TrainingLoop, "_next_batch", next_batch)
    assert find_checkpoint(tmp_path / "parts", "auto").name == "checkpoint-5"
    main([*parts, "--resume", "auto"])
    log = timeless_log(tmp_path / "parts")
    assert log == timeless_log(tmp_path / "whole")
    main([*parts, "--resume", "auto"])
    assert timeless_log(tmp_path / "parts") == log, "a finished run is not evaluated again"

    # The model of a checkpoint is what trained; `final` holds its average.
    for folder in ("checkpoint-9/model", "final"):
        whole, parts_ = (SspSamModel.from_pretrained(tmp_path / run / folder) for run in ("whole", "parts"))
        for (name, first), second in zip(whole.state_dict().items(), parts_.state_dict().values(), strict=True):
            assert torch.equal(first, second), f"{folder}: {name}"


def timeless_log(folder: Path) -> list[dict]:
    """The lines of a log without what the clock says."""
    entries = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    by_clock = ("minutes", "rate", "minutes_left", "waiting")
    return [{k: v for k, v in entry.items() if k not in by_clock} for entry in entries]


def test_masks_are_predicted_in_every_n_th_step(config, tmp_path):
    main(["--config", str(config), "--mask_interval", "3", "--max_steps", "4", "--eval_minutes", "0"])
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert ["dice" in entry for entry in log if entry["event"] == "train"] == [True, False, False, True]


def test_bfloat16_steps_stay_close_to_float32_and_keep_float32_weights(config, tmp_path, monkeypatch):
    def first_loss(name: str, *words: str) -> float:
        AcceleratorState._reset_state()  # a process keeps the precision it began with
        main(["--config", str(config), *words, "--output_dir", str(tmp_path / name)])
        assert SspSamModel.from_pretrained(tmp_path / name / "final").dtype == torch.float32
        return json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[0])["loss"]

    whole, half = (first_loss(precision, "--mixed_precision", precision) for precision in ("no", "bf16"))
    assert whole != half
    assert half == pytest.approx(whole, rel=0.02)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")  # as `accelerate launch` and its files say it
    assert first_loss("launched") == half
    assert first_loss("overruled", "--mixed_precision", "no") == whole


def test_a_loss_that_is_not_finite_stops_the_run(config, monkeypatch):
    monkeypatch.setattr("ssp_sam.training.objectives.focal_loss", lambda *_, **__: torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match="loss is nan at step 0"):
        main(["--config", str(config), "--objective", "towers"])


def test_steps_whose_gradients_are_not_finite_are_left_out_but_not_many_in_a_row(config, tmp_path, monkeypatch):
    """The square root has a value at zero and no gradient, as a product in half precision may have."""
    words = ["--config", str(config), "--objective", "towers"]
    main([*words, "--output_dir", str(tmp_path / "start")])
    words += ["--init_from", str(tmp_path / "start" / "final")]
    objective = "ssp_sam.training.objectives.focal_loss"
    monkeypatch.setattr(objective, lambda logits, *_, **__: (logits * 0).sum().sqrt())
    main([*words, "--max_steps", "2", "--output_dir", str(tmp_path / "left_out")])
    before, after = (SspSamModel.from_pretrained(tmp_path / name / "final") for name in ("start", "left_out"))
    for (name, value), other in zip(before.state_dict().items(), after.state_dict().values(), strict=True):
        assert torch.equal(value, other), name
    with pytest.raises(FloatingPointError, match="gradients were not finite 11 times in a row at step 10"):
        main([*words, "--max_steps", "12", "--output_dir", str(tmp_path / "given_up")])


@pytest.mark.long
def test_accelerate_launch_joins_the_processes_of_its_file(config, tmp_path):
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    launch += ["--config_file", str(ROOT / "training/accelerate_configs/two_cpu_processes.yaml")]
    command = [*launch, str(ROOT / "training/train.py"), "--config", str(config)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "2 processes" in run.stdout
    assert SspSamModel.from_pretrained(tmp_path / "run" / "final").dtype == torch.float32


def test_stages_in_two_processes_leave_a_folder_that_loads(config, tmp_path):
    towers, result = tmp_path / "towers", tmp_path / "result"
    stages = [
        ["--objective", "towers", "--output_dir", towers],
        ["--init_from", towers / "final", "--output_dir", result, "--export_dtype", "float16"],
    ]
    for stage in stages:
        run_in_processes(main, ["--config", config, *stage], tmp_path / "said", number=2)
    log = [json.loads(line) for line in (result / "log.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in log if entry["event"] == "train"] == [1, 2]
    # Two processes, two images each, three expressions per image.
    assert log[0]["samples"] == 12
    assert {"gIoU", "Pr@0.5", "N-acc", "T-acc"} <= log[-1]["metrics"]["all"].keys()
    assert sorted(path.name for path in result.iterdir() if path.is_dir()) == ["checkpoint-2", "final"]
    model = SspSamModel.from_pretrained(result / "final", dtype="auto")
    assert model.dtype == torch.float16
    assert not (result / "final" / "dense_heads.safetensors").exists()
    inputs = SspSamProcessor.from_pretrained(result / "final")(generate_scene(0).image, "the zebra")
    inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    assert model.float().eval()(**inputs).pred_masks.shape == (1, 1, CANVAS, CANVAS)
