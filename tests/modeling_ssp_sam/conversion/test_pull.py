# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Pulling models: from a Hub with repositories in their real layouts, from this machine, once, whole or not at all."""

import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from transformers import pipeline

import ssp_sam
from ssp_sam.modeling_ssp_sam.conversion import pull as pull_module
from ssp_sam.modeling_ssp_sam.conversion.checkpoint_sources import (
    PullError,
    SeveralError,
    UnreachableError,
    parse_source,
    size_text,
)
from ssp_sam.modeling_ssp_sam.conversion.convert import convert
from ssp_sam.modeling_ssp_sam.conversion.pull import pull, pull_model, pulled_from, resolve_model
from ssp_sam.modeling_ssp_sam.conversion.pulled_models import models_folder, pulled_models, remove_model
from ssp_sam.training import atomic_files
from ssp_sam.training.model_sources import find_model
from tests.helpers.authors_repository import (
    AUTHORS,
    BASE,
    CHECKPOINTS,
    LARGE,
    OLD_FORM,
    SAM,
    WHOLE,
    WHOLE_PLUS,
    WITHOUT_TOWERS,
    large_weights,
)
from tests.helpers.hub_server import TOKEN
from tests.helpers.models import make_image
from tests.helpers.original_checkpoints import save_checkpoint, save_tokenizer

EXPRESSIONS = ["the red ball", "a dog", "everything on the left"]


@pytest.fixture
def hub(authors_hub):
    """The authors' repository and those of the towers, on a Hub that this process may talk to."""
    return authors_hub


def masks_of(folder: str | Path) -> list[np.ndarray]:
    segment = pipeline("referring-segmentation", model=str(folder))
    return [np.asarray(result["mask"]) for result in segment(make_image(60, 40), EXPRESSIONS)]


def fetched(hub) -> list[str]:
    """Files of which the content was asked for, by their last name or checksum."""
    return [entry.removeprefix("GET ") for entry in hub.log if entry.startswith(("GET /cdn/", "GET /" + AUTHORS))]


def left_behind(hf_home: Path) -> list[str]:
    """What lies in the folder of converted models."""
    folder = hf_home / "ssp-sam"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


# ---- from the authors' repository ------------------------------------------------------------------------------------


def test_a_whole_checkpoint_becomes_the_model_that_a_direct_conversion_gives(hub, tmp_path):
    said = []
    model = (
        pull_model(AUTHORS, "clip_b_ft_unc", say=said.append) if False else pull_model(AUTHORS, WHOLE, say=said.append)
    )
    assert model.is_new and model.origin.file == WHOLE and model.commit == hub.repos[AUTHORS].refs["main"]
    (tmp_path / "best.pth").write_bytes(hub.files(AUTHORS)[WHOLE])
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    convert(tmp_path / "best.pth", tmp_path / "direct", dtype="float16", tokenizer=str(tokenizer))
    direct = masks_of(tmp_path / "direct")
    assert any(mask.any() for mask in direct)
    for mask, expected in zip(masks_of(model.folder), direct):
        np.testing.assert_array_equal(mask, expected)
    assert any("the tokenizer comes from openai/clip-vit-base-patch16" in line for line in said)
    # Nothing but the checkpoint and a tokenizer was fetched.
    assert not any(SAM in entry or "model.safetensors" in entry or LARGE in entry for entry in hub.log)


def test_missing_towers_come_from_their_repositories(hub, tmp_path):
    folder = pull(AUTHORS, "grefcoco", dtype="float32")
    torch.save({"model": large_weights()}, tmp_path / "whole.pth")
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    convert(tmp_path / "whole.pth", tmp_path / "direct", tokenizer=str(tokenizer))
    for mask, expected in zip(masks_of(folder), masks_of(tmp_path / "direct")):
        np.testing.assert_array_equal(mask, expected)
    assert not any(BASE in entry for entry in hub.log)
    wanted = {
        name for name in hub.files(SAM) if any(f"{SAM}/resolve/" in line and line.endswith(name) for line in hub.log)
    }
    assert wanted == {"config.json", "model.safetensors"}


def test_a_second_call_fetches_and_converts_nothing(hub, pulled):
    second = pull_model(f"{AUTHORS}:{WHOLE}")
    assert second.folder == pulled.folder and not second.is_new
    assert len(hub.log) == 1 and hub.log[0].startswith(f"GET /api/models/{AUTHORS}")


def test_a_new_commit_with_the_same_checkpoint_costs_nothing(hub, pulled):
    hub.publish(AUTHORS, {**hub.files(AUTHORS), "README.md": b"# News\n"})
    found = pull_model(f"{AUTHORS}:{WHOLE}")
    assert found.folder == pulled.folder and not found.is_new


def test_a_new_commit_with_another_checkpoint_is_pulled_and_the_old_revision_stays(hub, pulled):
    files = hub.files(AUTHORS)
    hub.publish(AUTHORS, {**files, WHOLE: files[WHOLE_PLUS]})
    second = pull_model(f"{AUTHORS}:{WHOLE}")
    assert second.is_new and second.folder != pulled.folder
    assert pull_model(f"{AUTHORS}:{WHOLE}", revision=pulled.commit).folder == pulled.folder
    assert resolve_model(f"{AUTHORS}:{WHOLE}") == str(second.folder)


@pytest.mark.parametrize("why", ["HF_HUB_OFFLINE", "no network"])
def test_what_was_pulled_is_used_without_a_network(hub, pulled, monkeypatch, why):
    folder = str(pulled.folder)
    _cut_network(hub, monkeypatch, why)
    said = []
    assert str(pull_model(AUTHORS, WHOLE, say=said.append).folder) == folder
    assert "what was pulled before is used" in said[0]
    assert resolve_model(AUTHORS) == resolve_model(f"{AUTHORS}:unc") == folder


@pytest.mark.parametrize("why", ["HF_HUB_OFFLINE", "no network"])
def test_without_a_network_one_sentence_says_what_to_do(hub, hf_home, monkeypatch, why):
    _cut_network(hub, monkeypatch, why)
    with pytest.raises(
        UnreachableError, match="wayneicloud/SSP-SAM:unc was not pulled before: run ssp-sam pull"
    ) as caught:
        pull(f"{AUTHORS}:unc")
    assert "\n" not in str(caught.value) and left_behind(hf_home) == []


def _cut_network(hub, monkeypatch, why: str):
    if why == "no network":
        hub.server.server_close()
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    else:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


# ---- which checkpoint is meant ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (WHOLE, WHOLE),
        ("SSP_SAM_CLIP_B_FT_unc", WHOLE),  # not the folder of which this is a part
        ("ssp_sam_clip_b_ft_UNC+", WHOLE_PLUS),
        ("grefcoco", WITHOUT_TOWERS),
        ("merge pretrain (final)", OLD_FORM),
        ("merge", OLD_FORM),
    ],
)
def test_a_part_of_the_path_names_a_checkpoint(hub, monkeypatch, part, expected):
    monkeypatch.setattr(pull_module, "_pull_repository", lambda found, listing, *_: _chosen(found, listing))
    assert pull_model(AUTHORS, part) == expected
    assert pull_model(f"{AUTHORS}:{part}") == expected


def _chosen(found, listing) -> str:
    return pull_module.choose_checkpoint(listing.checkpoints, found.file, found.repo_id).name


@pytest.mark.parametrize("part", [None, "checkpoint_best_miou.pth", "CLIP_B"])
def test_several_checkpoints_are_listed_with_their_sizes(hub, hf_home, part):
    with pytest.raises(SeveralError) as caught:
        pull(AUTHORS, part)
    names = [checkpoint.name for checkpoint in caught.value.checkpoints]
    assert names == (list(CHECKPOINTS) if part is None else [name for name in CHECKPOINTS if part in name])
    assert f"{WHOLE} ({size_text(len(hub.files(AUTHORS)[WHOLE]))})" in str(caught.value) and left_behind(hf_home) == []


def test_the_user_is_asked_where_several_are_meant(hub, pulled):
    asked = []

    def ask(checkpoints):
        asked.extend(checkpoint.name for checkpoint in checkpoints)
        return checkpoints[0]

    assert pull_model(AUTHORS, "CLIP_B", ask=ask).origin.file == WHOLE
    assert asked == [WHOLE, WHOLE_PLUS]


def test_of_several_pulled_ones_the_doors_ask_for_a_name(pulled):
    folder = str(pulled.folder)
    assert resolve_model(AUTHORS) == folder
    pull(AUTHORS, WHOLE_PLUS)
    with pytest.raises(
        SeveralError, match=r"2 checkpoints of wayneicloud/SSP-SAM were pulled; name one of them: .*:output"
    ):
        resolve_model(AUTHORS)
    assert resolve_model(f"{AUTHORS}:SSP_SAM_CLIP_B_FT_unc") == folder


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("owner/name", ("owner/name", None, None)),
        ("owner/name:a/b.pth", ("owner/name", "a/b.pth", None)),
        ("https://huggingface.co/owner/name", ("owner/name", None, None)),
        ("https://huggingface.co/owner/name/tree/main/sub", ("owner/name", "sub", None)),
        ("https://huggingface.co/owner/name/resolve/v1/a%20b.pth?download=true", ("owner/name", "a b.pth", "v1")),
        ("https://hf.co/owner/name/blob/refs%2Fpr%2F1/b.pth", ("owner/name", "b.pth", "refs/pr/1")),
    ],
)
def test_names_and_addresses_of_the_hub_are_understood(source, expected):
    found = parse_source(source)
    assert (found.repo_id, found.file, found.revision) == expected and found.path is None


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("best.pth", "is no file or folder, no address, and no Hub id"),
        ("x" * 5000, "is no file or folder, no address, and no Hub id"),
        ("", "expected the name or folder of a model, got ''"),
        (" ", "expected the name or folder of a model, got ' '"),
        ("runs/best.pth", "is no file or folder, no address, and no Hub id"),
        ("https://example.com/best.pth", "expected an address of the Hub"),
        ("https://huggingface.co/datasets/owner/name", "is no address of a model"),
        ("https://huggingface.co/owner", "is no address of a model"),
        ("https://huggingface.co/owner/name/discussions/1", "is no address of a model or of a file in one"),
    ],
)
def test_other_names_are_refused(source, message):
    with pytest.raises(PullError, match=message):
        parse_source(source)


def test_an_address_of_the_hub_is_pulled(hub, pulled):
    assert pull_model(f"{hub.url}/{AUTHORS}/blob/main/{WHOLE}").origin.file == WHOLE


# ---- from this machine -----------------------------------------------------------------------------------------------


@pytest.fixture
def local_checkpoint(hub, tmp_path) -> Path:
    (tmp_path / "runs").mkdir()
    return save_checkpoint(tmp_path / "runs" / "best.pth")


def test_a_local_checkpoint_is_converted_once(local_checkpoint, monkeypatch):
    folder = pull(local_checkpoint)
    monkeypatch.setattr(pull_module, "convert_weights", None)
    assert pull(local_checkpoint) == pull(local_checkpoint.parent) == resolve_model(str(local_checkpoint)) == folder
    assert any(mask.any() for mask in masks_of(folder))


def test_a_changed_local_checkpoint_replaces_what_it_held_before(local_checkpoint):
    old = pull(local_checkpoint)
    os.utime(local_checkpoint, ns=(1, 1))
    new = pull(local_checkpoint)
    assert new != old and [str(model.folder) for model in pulled_models()] == [new]


def test_a_folder_of_checkpoints_asks_for_a_name(local_checkpoint):
    shutil.copy(local_checkpoint, local_checkpoint.with_name("last.pth"))
    with pytest.raises(SeveralError, match=r"holds 2 checkpoints; name one of them: best.pth \(.* MB\), last.pth"):
        pull(local_checkpoint.parent)
    assert pull_model(local_checkpoint.parent, "last").origin.file == "last.pth"


def test_a_folder_of_our_format_needs_nothing(tiny_checkpoint, hf_home):
    assert pull(tiny_checkpoint) == resolve_model(tiny_checkpoint) == tiny_checkpoint
    assert not hf_home.exists()


def test_a_repository_of_our_format_is_fetched_as_it_is(hub, tiny_checkpoint):
    files = {path.name: path.read_bytes() for path in Path(tiny_checkpoint).iterdir()}
    hub.publish("someone/tiny", {**files, "training.pt": b"not wanted"})
    folder = Path(pull("someone/tiny"))
    assert {path.name for path in folder.iterdir()} == set(files)
    assert pulled_models() == [] and resolve_model("someone/tiny") == "someone/tiny"
    for mask, expected in zip(masks_of(folder), masks_of(tiny_checkpoint)):
        np.testing.assert_array_equal(mask, expected)


def test_the_public_functions_take_names_of_the_hub(pulled):
    expected = masks_of(pulled.folder)
    for model in (f"{AUTHORS}:{WHOLE}", ssp_sam.pull(AUTHORS, WHOLE)):
        results = ssp_sam.pipeline(model)(make_image(60, 40), EXPRESSIONS)
        for result, mask in zip(results, expected):
            np.testing.assert_array_equal(np.asarray(result["mask"]), mask)
    assert ssp_sam.pipeline().model.config.vision_config is None  # the embedded checkpoint


def test_a_training_starts_from_what_was_pulled_or_from_a_local_checkpoint(pulled, tmp_path):
    assert find_model(f"{AUTHORS}:unc") == str(pulled.folder)
    checkpoint = save_checkpoint(tmp_path / "best.pth")
    folder = find_model(str(checkpoint))
    assert [model.origin.source for model in pulled_models() if str(model.folder) == folder] == [str(checkpoint)]


def test_loading_a_repository_of_checkpoints_as_a_model_names_the_command(hub):
    with pytest.raises(OSError, match=f"^{AUTHORS} has no config.json; .*, run: ssp-sam pull {AUTHORS}$"):
        ssp_sam.SspSamModel.from_pretrained(AUTHORS)


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def refusal(source: str | Path, file: str | None = None) -> str:
    with pytest.raises(ValueError) as caught:
        pull(source, file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_other_repositories_are_refused_in_one_sentence(hub, hf_home):
    hub.publish("someone/empty", {"README.md": b"# Soon\n"})
    hub.publish("someone/bert", {"config.json": b'{"model_type": "bert"}', "model.safetensors": b""})
    expected = {
        "someone/empty": "someone/empty holds no config.json and no checkpoint",
        "someone/bert": "someone/bert is a model of type 'bert', expected 'ssp_sam'",
        "someone/a-dataset": "someone/a-dataset is a dataset of the Hub, not a model",
        "someone/nobody": "there is no model someone/nobody on the Hub, or it is private",
        f"{AUTHORS}:nothing": "holds no checkpoint 'nothing'; there are merge pretrain",
        "some one/name": "is no file or folder",
    }
    for source, message in expected.items():
        assert message in refusal(source), source
    with pytest.raises(PullError, match="has no such revision"):
        pull(AUTHORS, WHOLE, revision="v9")
    assert left_behind(hf_home) == []


def test_a_gated_repository_says_where_its_terms_are(hub, hf_home):
    hub.repos[AUTHORS].gated = True
    assert f"is gated: accept its terms at {hub.url}/{AUTHORS}, then set HF_TOKEN" in refusal(AUTHORS, WHOLE)
    assert left_behind(hf_home) == []
    assert Path(pull(AUTHORS, WHOLE, token=TOKEN)).is_dir()


def test_a_private_repository_needs_a_token(hub):
    hub.repos[AUTHORS].private = True
    assert "or it is private: set HF_TOKEN" in refusal(AUTHORS, WHOLE)
    assert Path(pull(AUTHORS, WHOLE, token=TOKEN)).is_dir()


@pytest.mark.parametrize("kind", ["another project's", "truncated", "pickle with code", "text"])
def test_another_file_is_refused_and_not_kept(hub, hf_home, tmp_path, kind):
    content = hub.files(AUTHORS)[WHOLE]
    if kind == "another project's":
        torch.save({"model": {"layer1.weight": torch.ones(2)}}, tmp_path / "x.pth")
        content, message = (tmp_path / "x.pth").read_bytes(), "1 of 1 names are not of this layout: layer1.weight (2,)"
    elif kind == "truncated":
        content, message = content[: len(content) // 2], "the file is truncated or damaged"
    elif kind == "pickle with code":
        torch.save({"model": {"a": torch.ones(2)}, "args": _Payload()}, tmp_path / "x.pth")
        content, message = (
            (tmp_path / "x.pth").read_bytes(),
            "asks for the Python object posix.mkdir",
        )
    else:
        content, message = b"version https://git-lfs", "was not written by torch.save"
    hub.publish("someone/other", {"best.pth": content})
    assert message in refusal("someone/other")
    assert "someone/other:best.pth" in refusal("someone/other")
    assert left_behind(hf_home) == [] and not any(path.is_file() for path in (hf_home / "hub").rglob("blobs/*"))


class _Payload:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.break_after, hub.breaks = 1_000_000, 1
    assert Path(pull(AUTHORS, WHOLE)).is_dir()
    assert hub.ranges == ["bytes=1000000-"]


def test_a_download_that_keeps_breaking_off_is_told_in_one_sentence(hub, hf_home):
    hub.break_after, hub.breaks = 1000, 1000
    message = refusal(AUTHORS, WHOLE)
    assert f"the download of {WHOLE} of {AUTHORS} failed" in message and "goes on where it stopped" in message
    assert left_behind(hf_home) == []
    hub.breaks = 0
    assert Path(pull(AUTHORS, WHOLE)).is_dir()


def test_a_download_with_a_wrong_byte_is_told_and_removed(hub, hf_home):
    hub.falsified.add(AUTHORS)
    assert f"{WHOLE} of {AUTHORS} arrived damaged (SHA-256" in refusal(AUTHORS, WHOLE)
    assert left_behind(hf_home) == []
    hub.falsified.clear()
    assert Path(pull(AUTHORS, WHOLE)).is_dir()


def test_a_full_disk_is_told_before_the_download(hub, hf_home, monkeypatch):
    usage = shutil.disk_usage(hf_home.parent)
    monkeypatch.setattr(pull_module.shutil, "disk_usage", lambda path: usage._replace(free=10_000_000))
    message = refusal(AUTHORS, WHOLE)
    assert f"{WHOLE} (8.6 MB) needs 12.8 MB for the download and the converted model" in message
    assert "has 10.0 MB left" in message
    assert left_behind(hf_home) == [] and fetched(hub) == []


@pytest.mark.parametrize("where", ["weights", "record"])
def test_a_disk_that_fills_up_leaves_nothing(hub, hf_home, monkeypatch, where):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    if where == "weights":
        monkeypatch.setattr("ssp_sam.modeling_ssp_sam.conversion.convert.save_file", fail)
    else:
        monkeypatch.setattr(atomic_files, "move_into_place", fail)
    message = refusal(AUTHORS, WHOLE)
    assert "cannot write '" in message and "No space left on device" in message
    assert left_behind(hf_home) == []


def test_two_at_once_convert_once(hub, monkeypatch):
    converted, models = [], []
    original = pull_module.convert_weights
    monkeypatch.setattr(
        pull_module, "convert_weights", lambda *given, **options: (converted.append(1), original(*given, **options))
    )
    threads = [threading.Thread(target=lambda: models.append(pull_model(AUTHORS, WHOLE))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(converted) == 1 and models[0].folder == models[1].folder
    assert sorted(model.is_new for model in models) == [False, True]


def test_what_a_killed_process_left_is_cleared(pulled, hf_home):
    first = pulled
    for name in (first.folder.name, "another-model"):
        leftover = hf_home / "ssp-sam" / f".partial-{atomic_files._HOST}-{2**22 + 1}-1-{name}"
        leftover.mkdir(parents=True)
        (leftover / "config.json").write_text("{")
    (first.folder / "pulled.json").unlink()  # a folder without a record is no model
    assert pulled_models() == []
    assert pull_model(AUTHORS, WHOLE).is_new and left_behind(hf_home) == [first.folder.name]


# ---- listing and removing --------------------------------------------------------------------------------------------


def test_removing_frees_the_model_and_its_download(hub, pulled, hf_home):
    other = pull(AUTHORS, WHOLE_PLUS)
    before = sum(path.stat().st_size for path in hf_home.rglob("*") if path.is_file() and not path.is_symlink())
    [found] = pulled_from(AUTHORS, "SSP_SAM_CLIP_B_FT_unc")
    assert found.folder == pulled.folder
    freed = remove_model(found)
    after = sum(path.stat().st_size for path in hf_home.rglob("*") if path.is_file() and not path.is_symlink())
    assert freed == before - after > len(hub.files(AUTHORS)[WHOLE])
    assert [str(model.folder) for model in pulled_models()] == [other]


def test_a_record_that_is_not_ours_is_no_model(hf_home):
    folder = models_folder() / "something"
    folder.mkdir(parents=True)
    for content in ("{}", "[]", "not json", json.dumps({"source": 1})):
        (folder / "pulled.json").write_text(content)
        assert pulled_models() == []
