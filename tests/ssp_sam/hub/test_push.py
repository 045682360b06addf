# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Publishing on a Hub, and loading from it: huggingface_hub itself against a server on this machine."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from ssp_sam.cli.main import main
from ssp_sam.hub import push as hub_push
from ssp_sam.hub.push import push_export
from ssp_sam.training.evaluation.report import FORMAT
from tests.helpers.faults import end_of
from tests.helpers.hub_fixtures import EXPRESSIONS, export_tiny
from tests.helpers.hub_server import TOKEN, Blob, LocalHub
from tests.helpers.models import make_image
from tests.helpers.processes import Processes, run_script, start_processes
from tests.helpers.pulling import use_home, use_hub

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def exported(tiny_checkpoint, tmp_path_factory) -> Path:
    return export_tiny(tiny_checkpoint, tmp_path_factory.mktemp("export") / "tiny")


@pytest.fixture(scope="module")
def script_hub(tiny_checkpoint, tmp_path_factory):
    """A Hub to which the script has published `someone/tiny`, and what the script said."""
    folder = tmp_path_factory.mktemp("script")
    make_image(48, 36).save(folder / "picture.png")
    with LocalHub() as hub:
        words = ["--repo-id", "someone/tiny", "--model", tiny_checkpoint, "--sample", "picture.png", *EXPRESSIONS]
        published = start_script(folder, hub, *words)
        assert end_of(published) == 0, published.said(stream="err")
        yield hub, published.said()


def start_script(folder: Path, hub: LocalHub, *words: str) -> Processes:
    home, script = str(folder / "hf"), ROOT / "scripts" / "push_to_hub.py"
    words = [hub.url, home, folder, script, *words]
    return start_processes(run_script_on_hub, words, folder / "said", HF_TOKEN=TOKEN, HF_HOME=home)


def run_script_on_hub(words: list[str]):
    url, home, *words = words
    monkeypatch = pytest.MonkeyPatch()
    use_home(Path(home), monkeypatch)
    use_hub(url, monkeypatch)
    run_script(words)


@pytest.fixture
def hub(monkeypatch):
    """An empty Hub that this very process may talk to."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.file_download.time, "sleep", lambda seconds: None)
    with LocalHub() as server:
        yield server
        assert server.unknown == []


@pytest.fixture
def api(hub) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKEN)


# ---- the whole way --------------------------------------------------------------------------------------------------


def test_the_script_exports_checks_and_publishes_in_one_commit(script_hub, exported):
    hub, said = script_hub
    assert "loaded without ssp-sam: predictions for 6 expressions equal those of the model" in said
    assert f"published: {hub.url}/someone/tiny/commit/" in said
    files = hub.files("someone/tiny")
    assert {"config.json", "README.md", "samples/picture.png"} <= set(files)
    for path in (exported / "model.safetensors", *exported.glob("*.py")):
        assert files[path.name] == path.read_bytes(), path.name
    assert hub.repos["someone/tiny"].messages == ["initial commit", "Upload model"]
    assert 'model="someone/tiny"' in files["README.md"].decode()


@pytest.mark.long  # in this process the same is asked of a folder, in test_results.py
def test_a_model_of_the_hub_is_published_with_numbers_of_its_own_weights_alone(script_hub, tmp_path):
    hub, _ = script_hub
    digests = [hashlib.sha256(hub.files("someone/tiny")["model.safetensors"]).hexdigest(), "0" * 64]
    for name, digest in zip(("own", "other"), digests):
        report = {"format": FORMAT, "model": {"weights_sha256": digest}}
        (tmp_path / f"{name}.json").write_text(json.dumps(report), "utf-8")
    words = ["--repo-id", "someone/again", "--model", "someone/tiny", "--dry-run", "--report"]
    assert end_of(start_script(tmp_path, hub, *words, "own.json")) == 0
    refused = start_script(tmp_path, hub, *words, "other.json")
    assert end_of(refused) == 2
    [told] = refused.said(stream="err").splitlines()[-1:]
    assert told.startswith("ssp-sam: ") and "Traceback" not in refused.said(stream="err")
    assert all(digest in told for digest in digests)


def test_what_the_hub_refuses_is_one_line(hub, tiny_checkpoint, monkeypatch, capsys):
    # The check takes a process of its own and has passed above.
    monkeypatch.setattr(hub_push, "check_export", lambda *_: "checked")
    monkeypatch.setattr(hub_push, "HfApi", lambda: HfApi(endpoint=hub.url, token="hf_wrong"))
    assert main(["push", "--repo-id", "someone/tiny", "--model", tiny_checkpoint]) == 1
    said = capsys.readouterr().err
    assert said.startswith("ssp-sam: someone/tiny was not published: ") and said.count("\n") == 1
    assert "401" in said and hub.repos == {}


def test_a_dry_run_lists_the_files_and_asks_the_hub_nothing(hub, tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(hub_push, "check_export", lambda *_: "checked")
    assert main(["push", "--repo-id", "someone/tiny", "--model", tiny_checkpoint, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^ *\d+\.\d kB  model.safetensors$", said, re.M)
    assert said.endswith("checked\ndry run: nothing was published to someone/tiny\n") and hub.log == []


def test_an_export_that_does_not_pass_the_check_is_not_published(hub, tiny_checkpoint, monkeypatch, capsys):
    def differ(*_):
        raise ValueError("the masks of request 0 differ")

    monkeypatch.setattr(hub_push, "check_export", differ)
    monkeypatch.setattr(hub_push, "HfApi", lambda: HfApi(endpoint=hub.url, token=TOKEN))
    assert main(["push", "--repo-id", "someone/tiny", "--model", tiny_checkpoint]) == 2
    assert capsys.readouterr().err == "ssp-sam: the masks of request 0 differ\n" and hub.repos == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--repo-id", "tiny"], "--repo-id must be owner/name, got 'tiny'"),
        (["--repo-id", "a/b/c"], "--repo-id must be owner/name, got 'a/b/c'"),
        (["--repo-id", "a/-b"], "Repo id must"),
        (["--repo-id", "a/b", "--facts", "nope.yaml"], "no file at --facts 'nope.yaml'"),
        (["--repo-id", "a/b", "--report", "nope.json"], "no file at --report 'nope.json'"),
        (["--repo-id", "a/b", "--max-shard-size", "foo"], "expected a size such as 5GB or 800MB, got 'foo'"),
        (["--repo-id", "a/b", "--create-pr", "--revision", "v2"], "leave out --revision 'v2'"),
        (
            ["--repo-id", "a/b", "--model", "nowhere/at/all"],
            "'nowhere/at/all' is no file or folder",
        ),
    ],
)
def test_bad_usage_is_one_line_before_anything_is_exported(words, message, capsys):
    assert main(["push", *words]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""


# ---- publishing -----------------------------------------------------------------------------------------------------


def test_a_new_version_takes_away_what_the_last_one_left(hub, api, exported, tmp_path):
    push_export(exported, "someone/tiny", api=api)
    repo = hub.repos["someone/tiny"]
    files = repo.commits[repo.refs["main"]]
    files.update({name: Blob(b"old", lfs=False) for name in ("old_layer.py", "samples/old.png", "notes.txt")})
    (folder := tmp_path / "tiny").mkdir()
    shutil.copytree(exported, folder, dirs_exist_ok=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\nchanged\n", "utf-8")
    push_export(folder, "someone/tiny", api=api)
    assert set(hub.files("someone/tiny")) == {
        *(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()),
        ".gitattributes",
        "notes.txt",
    }
    assert hub.files("someone/tiny")["README.md"].endswith(b"changed\n")


def test_a_pull_request_leaves_main_alone(hub, api, exported):
    api.create_repo("someone/tiny")
    address = push_export(exported, "someone/tiny", create_pr=True, api=api)
    assert address == f"{hub.url}/someone/tiny/discussions/1"
    assert set(hub.files("someone/tiny")) == {".gitattributes"}
    assert "model.safetensors" in hub.files("someone/tiny", "refs/pr/1")


def test_a_revision_becomes_a_branch(hub, api, exported):
    push_export(exported, "someone/tiny", revision="v2", api=api)
    assert set(hub.files("someone/tiny")) == {".gitattributes"}
    assert "model.safetensors" in hub.files("someone/tiny", "v2")


def test_a_pull_request_to_a_branch_is_refused(hub, api, exported):
    with pytest.raises(ValueError, match="leave out the revision 'v2'"):
        push_export(exported, "someone/tiny", revision="v2", create_pr=True, api=api)
    assert hub.log == []


def test_a_private_repository_is_hidden_from_strangers(hub, api, exported, tmp_path):
    push_export(exported, "someone/tiny", private=True, api=api)
    options = {"endpoint": hub.url, "cache_dir": tmp_path}
    with pytest.raises(HfHubHTTPError, match="Repository Not Found"):
        hf_hub_download("someone/tiny", "config.json", token=False, **options)
    assert Path(hf_hub_download("someone/tiny", "config.json", token=TOKEN, **options)).is_file()


def test_nothing_private_goes_into_a_public_repository(hub, api, exported):
    api.create_repo("someone/tiny", private=False)
    with pytest.raises(ValueError, match="someone/tiny is public already"):
        push_export(exported, "someone/tiny", private=True, api=api)
    assert set(hub.files("someone/tiny")) == {".gitattributes"}


def test_publishing_the_same_twice_makes_no_second_commit(hub, api, exported):
    addresses = {push_export(exported, "someone/tiny", api=api) for _ in range(2)}
    assert len(addresses) == 1 and len(hub.repos["someone/tiny"].messages) == 2


def test_content_that_arrived_otherwise_is_noticed(hub, api, exported, monkeypatch):
    create = HfApi.create_commit

    def commit_and_damage(self, *words, **options):
        commit = create(self, *words, **options)
        hub.repos["someone/tiny"].commits[commit.oid]["config.json"] = Blob(b"{}", lfs=False)
        return commit

    monkeypatch.setattr(HfApi, "create_commit", commit_and_damage)
    with pytest.raises(ValueError, match="does not hold what was pushed, but other content of config.json"):
        push_export(exported, "someone/tiny", api=api)


# ---- downloads that break -------------------------------------------------------------------------------------------


def test_a_download_that_breaks_off_goes_on_where_it_stopped(hub, api, exported, tmp_path, monkeypatch):
    push_export(exported, "someone/tiny", api=api)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # what arrives is kept in such pieces; else 10 MB
    hub.break_after, hub.breaks = 10_000, 2
    weights = hf_hub_download("someone/tiny", "model.safetensors", endpoint=hub.url, cache_dir=tmp_path)
    assert Path(weights).read_bytes() == (exported / "model.safetensors").read_bytes()
    assert hub.breaks == 0 and hub.ranges == ["bytes=8192-", "bytes=16384-"]


def test_a_download_that_cannot_go_on_leaves_nothing_behind_and_works_later(hub, api, exported, tmp_path):
    push_export(exported, "someone/tiny", api=api)
    hub.break_after, hub.breaks = 0, 100
    with pytest.raises(Exception, match="(?i)peer closed|disconnected|incomplete"):
        hf_hub_download("someone/tiny", "model.safetensors", endpoint=hub.url, cache_dir=tmp_path)
    assert [path for path in (tmp_path / "models--someone--tiny" / "blobs").rglob("*") if path.is_file()] == []
    hub.breaks = 0
    weights = hf_hub_download("someone/tiny", "model.safetensors", endpoint=hub.url, cache_dir=tmp_path)
    assert Path(weights).read_bytes() == (exported / "model.safetensors").read_bytes()
