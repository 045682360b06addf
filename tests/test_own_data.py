"""Pictures of one's own: how they are divided, and the worked example of docs/own_data.md in a reduced form."""

import json
from pathlib import Path

import make_texture_scenes
import pytest
import torch
from datasets import Dataset

from ssp_sam.training.arguments import DataArguments
from ssp_sam.training.own_references import keep_back, open_own_references
from ssp_sam.training.refer_data import decode_masks
from ssp_sam.training.train import main, run

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "textures"
    assert make_texture_scenes.main([str(folder), "--pictures", "40"]) == 0
    return folder


def test_masks_of_the_drawn_pictures_are_what_their_sentences_mean(pictures, tmp_path):
    data = DataArguments(train_dir=str(pictures), eval_fraction=0.25)
    train, held_out = open_own_references(data, tmp_path / "prepared", renew=True, seed=0)
    lines = [json.loads(line) for line in (pictures / "metadata.jsonl").read_text().splitlines()]
    assert len(train) + len(held_out) == len(lines)
    assert len(set(held_out["image_id"])) == 10 and not set(held_out["image_id"]) & set(train["image_id"])
    for row in list(held_out)[:8]:
        assert row["no_target"] == (not row["masks"])
        assert (decode_masks(row).sum() > 200) == (not row["no_target"])


def test_what_is_prepared_is_made_anew_unless_a_run_goes_on(pictures, tmp_path):
    data = DataArguments(train_dir=str(pictures))
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="no prepared benchmark"):
        open_own_references(data, tmp_path, renew=False, seed=0)
    assert len(open_own_references(data, tmp_path, renew=True, seed=0)[0]) > 100


def test_a_single_picture_cannot_be_kept_back():
    with pytest.raises(ValueError, match="train_dir has 1 picture, too few to keep one back"):
        keep_back(Dataset.from_dict({"image_id": ["a", "a"]}), 0.1, seed=0)


def test_a_folder_without_metadata_is_named(tmp_path, capsys):
    words = ["--config", str(ROOT / "training/configs/own_data.yaml"), "--train_dir", str(tmp_path)]
    words += ["--init_from", str(ROOT / "ssp_sam/checkpoints/ssp-sam-scenes"), "--output_dir", str(tmp_path / "run")]
    assert run(words) == 2
    assert "there is no metadata.jsonl in" in capsys.readouterr().err


def test_fine_tuning_the_embedded_checkpoint_learns_a_look_it_has_not_seen(pictures, tmp_path):
    threads = torch.get_num_threads()
    make_texture_scenes.main([str(tmp_path / "held_out"), "--pictures", "12", "--seed", "1"])
    words = ["--config", str(ROOT / "training/configs/own_data.yaml"), "--train_dir", str(pictures)]
    words += ["--init_from", str(ROOT / "ssp_sam/checkpoints/ssp-sam-scenes"), "--num_epochs", "5"]
    words += ["--eval_dir", str(tmp_path / "held_out"), "--output_dir", str(tmp_path / "run"), "--eval_epochs", "0"]
    main([*words, "--warmup_steps", "5", "--threads_per_process", "1"])
    torch.set_num_threads(threads)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    before, after = (entry["metrics"]["all"]["gIoU"] for entry in log if entry["event"] == "eval")
    assert before < 0.2 < 0.25 < after, (before, after)
