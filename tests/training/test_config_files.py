# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Settings of a training run, its schedule, and the tokenizer of models trained from scratch."""

from pathlib import Path

import pytest
import yaml

from ssp_sam.training.arguments import ModelArguments, OptimizationArguments
from ssp_sam.training.checkpointing import find_checkpoint
from ssp_sam.training.config_files import CONFIGS, SettingsParser, parse_settings
from ssp_sam.training.scenes.tokenizer import build_word_tokenizer
from ssp_sam.training.scenes.words import VOCABULARY_WORDS
from ssp_sam.training.schedule import Schedule

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def config(tmp_path) -> Path:
    """A configuration file with a few settings."""
    settings = {"model_config": {"mask_size": 32}, "num_train_scenes": 12, "images_per_device": 2, "max_steps": 20}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**settings, "warmup_steps": 1, "learning_rate": 1e-3}))
    return path


# ---- schedule and arguments -----------------------------------------------------------------------------------------


def test_the_schedule_ends_at_steps_or_minutes_whichever_is_first():
    arguments = OptimizationArguments(max_steps=1000, max_minutes=10, warmup_steps=10, learning_rate=1.0)
    schedule = Schedule(arguments)
    assert schedule.progress(250, 1.0) == 0.25
    assert schedule.progress(250, 5.0) == 0.5
    assert schedule.progress(250, 12.0) == 1.0
    assert schedule.learning_rate(0, 0.0) == pytest.approx(0.1)
    assert schedule.learning_rate(500, 0.0) == pytest.approx(0.5, abs=1e-5)
    assert schedule.learning_rate(999, 10.0) == pytest.approx(arguments.final_learning_rate)


def test_epochs_decide_length_warm_up_and_what_is_due():
    arguments = OptimizationArguments(
        num_epochs=80, warmup_epochs=5, warmup_learning_rate=1e-6, learning_rate=1e-4, schedule_unit="epoch",
        mask_decoder_frozen_epochs=20,
    )  # fmt: skip
    schedule = Schedule(arguments, steps_per_epoch=662.5)
    assert schedule.total_steps == 53000
    assert schedule.learning_rate(0, 0) == schedule.learning_rate(662, 0) == pytest.approx(1e-6)
    assert schedule.learning_rate(663, 0) == pytest.approx(1e-6 + (1e-4 - 1e-6) / 5, rel=0.01)
    assert schedule.learning_rate(int(40.5 * 662.5), 0) == pytest.approx((1e-4 + 1e-6) / 2, rel=0.01)
    assert schedule.mask_decoder_is_frozen(13249) and not schedule.mask_decoder_is_frozen(13250)
    due = [step for step in range(1, 2000) if schedule.is_due(step, every_epochs=1)]
    assert due == [663, 1325, 1988]
    assert [step for step in range(1, 9) if schedule.is_due(step, every_steps=3)] == [3, 6]


def test_a_warm_up_as_long_as_the_run_is_refused():
    with pytest.raises(ValueError, match=r"the warm-up \(100 steps\) must be shorter than the run \(30 steps\)"):
        Schedule(OptimizationArguments(num_epochs=3), steps_per_epoch=10)


def test_a_warm_up_below_one_is_a_fraction_of_the_run():
    for epochs in (1, 400):
        schedule = Schedule(OptimizationArguments(num_epochs=epochs, warmup_steps=0.25), steps_per_epoch=2.5)
        assert schedule.warmup_steps == 0.25 * schedule.total_steps


def test_the_dense_loss_fades_linearly():
    schedule = Schedule(OptimizationArguments(max_steps=200, dense_loss_weight=0.4, final_dense_loss_weight=0.0))
    assert schedule.dense_loss_weight(150, 0.0) == pytest.approx(0.1)


def test_the_command_line_wins_over_the_file(config):
    model, data, training, *_ = parse_settings(["--config", str(config), "--max_steps", "7", "--seed=3"])
    assert (training.max_steps, training.seed, training.learning_rate) == (7, 3, 1e-3)
    assert data.images_per_device == 2
    assert model.model_config["mask_size"] == 32


SCENE_CONFIGS = sorted(path.name for path in (ROOT / "training/configs").glob("embedded*.yaml"))
STAGES = ["box_pretraining", "refcoco", "refcoco_plus", "refcocog_umd", "refcocog_google", "referit", "grefcoco"]


@pytest.mark.parametrize("name", SCENE_CONFIGS)
def test_the_configurations_of_the_embedded_checkpoint_are_valid(name):
    model, data, training, *_ = parse_settings(["--config", str(ROOT / "training/configs" / name)])
    assert training.objective == ("towers" if "towers" in name else "referring")
    assert (model.init_from is None) == ("towers" in name)
    assert data.uses_scenes and training.num_epochs is None


@pytest.mark.parametrize("model_name", ["paper_b16", "paper_l14_336", "default_model"])
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_the_papers_values_with_every_model(stage, model_name):
    folder = ROOT / "training/configs"
    words = ["--config", str(folder / f"{stage}.yaml"), str(folder / f"{model_name}.yaml")]
    model, data, training, *_ = parse_settings(words)
    boxes = stage == "box_pretraining"
    assert training.num_epochs == (20 if boxes else 100 if stage == "grefcoco" else 80)
    assert (training.box_only, training.mask_decoder_frozen_epochs) == (boxes, 0 if boxes else 20)
    assert (training.learning_rate, training.weight_decay, training.max_grad_norm) == (1e-4, 1e-4, 0.1)
    assert (training.warmup_epochs, training.warmup_learning_rate, training.final_learning_rate) == (5, 1e-6, 1e-6)
    assert training.learning_rate_ratios[".mask_decoder."] == 0.1
    assert (data.images_per_device, training.seed, data.random_semantic_offset) == (8, 3407, True)
    assert data.dataset.startswith("prepared/") and not data.uses_scenes
    assert model.preset == ("default" if model_name == "default_model" else model_name)
    assert model.init_from_towers["sam"].startswith("facebook/sam-vit")


def test_a_file_stands_on_the_one_it_extends_and_later_files_on_earlier_ones(tmp_path):
    files = {
        "base": {"seed": 1, "max_steps": 500, "model_config": {"mask_size": 32, "adapter_dim": 8}},
        "stage": {"extends": "base.yaml", "seed": 2, "model_config": {"adapter_dim": 16}},
        "model": {"max_steps": 700, "model_config": {"grid_size": 4}},
    }
    for name, content in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
    model, _, training, *_ = parse_settings(
        ["--config", *(str(tmp_path / f"{name}.yaml") for name in ("stage", "model"))]
    )
    assert (training.seed, training.max_steps) == (2, 700)
    assert model.model_config == {"mask_size": 32, "adapter_dim": 16, "grid_size": 4}


def test_configurations_are_found_by_name_and_can_be_named_one_by_one():
    one, other = (
        parse_settings(words)
        for words in (["--config", "refcoco", "paper_b16"], ["--config", "refcoco", "--config", "paper_b16"])
    )
    by_path = parse_settings(["--config", *(str(CONFIGS / f"{name}.yaml") for name in ("refcoco", "paper_b16"))])
    assert one == other == by_path and one.model.preset == "paper_b16"


def test_what_is_not_given_keeps_its_default(config):
    plain, changed = (
        parse_settings(["--config", str(config), *words]) for words in ([], ["--no_random_semantic_offset"])
    )
    assert plain.data.random_semantic_offset and not changed.data.random_semantic_offset
    assert plain.optimization.adam_beta2 == 0.98
    assert vars(SettingsParser().parse_args(["--seed", "3"])) == {"seed": 3}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rat": 1}, "names 'learning_rat', which is no setting; did you mean learning_rate"),
        ({"learning_rate": "fast"}, "learning_rate must be a number, got 'fast'"),
        ({"max_steps": 1.5}, "max_steps must be of type int, got 1.5"),
        ({"objective": "both"}, r"objective must be one of \['towers', 'referring'\], got 'both'"),
        ({"warmup_steps": 9, "max_steps": 5}, r"warmup_steps \(9\) must be below max_steps \(5\)"),
        ({"final_learning_rate": 1.0}, r"final_learning_rate \(1.0\) must be at most learning_rate \(0.001\)"),
        ({"flip_probability": 1.5}, r"flip_probability must lie in \[0, 1\], got 1.5"),
        ({"images_per_device": 99}, r"images_per_device \(99\) must be at most num_train_scenes \(12\)"),
        ({"max_minutes": -1}, "max_minutes must be above 0, got -1.0"),
        ({"learning_rate_ratios": "{fast"}, "learning_rate_ratios must be a mapping or JSON, got '{fast'"),
        ({"box_only": True, "objective": "towers"}, r"box_only \(True\) needs the objective 'referring', got 'towers'"),
        ({"mask_interval": 0}, "mask_interval must be at least 1, got 0"),
        ({"mixed_precision": "int8"}, r"mixed_precision must be one of \['auto', 'no', 'bf16', 'fp16'\], got 'int8'"),
        ({"ema_decay": 1.0}, r"ema_decay must lie in \[0, 1\), got 1.0"),
        ({"absent_fraction": -0.1}, r"absent_fraction must lie in \[0, 1\], got -0.1"),
        ({"no_target_threshold": 1.0}, r"no_target_threshold must lie in \(0, 1\), got 1.0"),
    ],
)
def test_bad_settings_give_one_sentence(config, changes, message):
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | changes))
    with pytest.raises(ValueError, match=message) as caught:
        parse_settings(["--config", str(config)])
    assert "\n" not in str(caught.value)


def test_a_run_needs_a_model():
    with pytest.raises(ValueError, match="init_from .* or model_config .*, got none of them"):
        ModelArguments()


def test_resume_refuses_a_folder_that_is_no_checkpoint(tmp_path):
    assert find_checkpoint(tmp_path, "auto") is None
    with pytest.raises(ValueError, match="loop.json"):
        find_checkpoint(tmp_path, str(tmp_path))


# ---- tokenizer ------------------------------------------------------------------------------------------------------


def test_the_tokenizer_knows_the_generators_words_and_spells_the_others():
    tokenizer = build_word_tokenizer(VOCABULARY_WORDS)
    for word in VOCABULARY_WORDS:
        assert len(tokenizer.tokenize(word)) == 1, word
    assert tokenizer.tokenize("Zyx") == ["z", "##y", "##x"]
    assert tokenizer.unk_token_id not in tokenizer("the second owl's book, left-most!")["input_ids"]


def test_the_tokenizer_survives_saving(tmp_path):
    tokenizer = build_word_tokenizer(VOCABULARY_WORDS)
    tokenizer.save_pretrained(tmp_path)
    assert type(tokenizer).from_pretrained(tmp_path)("a red dog")["input_ids"] == tokenizer("a red dog")["input_ids"]
