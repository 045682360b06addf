# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`ssp-sam pull`, and the models it brings in `--model` of the other subcommands."""

import io
import json
import sys

import pytest

from ssp_sam.cli.main import main
from ssp_sam.modeling_ssp_sam.conversion.pulled_models import pulled_models
from tests.helpers.authors_repository import AUTHORS, CHECKPOINTS, WHOLE, WHOLE_PLUS, WITHOUT_TOWERS
from tests.helpers.models import make_image
from tests.helpers.original_checkpoints import save_checkpoint


@pytest.fixture
def run(capsys):
    """Runs the command; returns its exit code and what it wrote to standard output and to standard error."""

    def run(*words):
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return run


def refusal(result) -> str:
    code, _, err = result
    lines = [line for line in err.splitlines() if line.startswith("ssp-sam: ")]
    assert code == 2 and len(lines) == 1 and err.endswith(lines[0] + "\n"), err
    return lines[0]


# ---- pull -----------------------------------------------------------------------------------------------------------


def test_a_pull_says_what_it_does_and_what_to_type_next(authors_hub, run):
    code, out, _ = run("pull", AUTHORS, "--file", "grefcoco")
    [model] = pulled_models()
    assert code == 0 and model.origin.file == WITHOUT_TOWERS
    lines = out.splitlines()
    assert lines[0].startswith(f"fetching {WITHOUT_TOWERS} (")
    assert "CLIP, which the checkpoint leaves out, comes from openai/clip-vit-large-patch14-336" in lines
    assert "SAM's image encoder, which the checkpoint leaves out, comes from facebook/sam-vit-huge" in lines
    assert lines[-2].startswith(f"ready: {model.folder} (") and lines[-2].endswith(", float16)")
    assert lines[-1] == f'Try: ssp-sam segment photo.jpg "the dog on the left" --model {AUTHORS}:{WITHOUT_TOWERS}'


def test_a_second_pull_says_what_is_there(pulled, run):
    code, out, _ = run("pull", AUTHORS, "--file", WHOLE)
    assert code == 0 and out.startswith(f"there already: {pulled.folder} (")


def test_several_checkpoints_are_listed_where_nobody_can_be_asked(authors_hub, run):
    result = run("pull", AUTHORS)
    assert [line.split(" (")[0].strip() for line in result[1].splitlines()] == [
        name.split(" (")[0] for name in CHECKPOINTS
    ]
    assert refusal(result) == "ssp-sam: 4 checkpoints to choose from; name one by --file"


@pytest.mark.parametrize("typed, chosen", [("1\n", WHOLE), ("9\nno\n1\n", WHOLE), ("", None)])
def test_on_a_terminal_the_user_is_asked(pulled, run, monkeypatch, typed, chosen):
    terminal = io.StringIO(typed)
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    result = run("pull", AUTHORS, "--file", "CLIP_B")
    assert f"  1  {WHOLE} (" in result[2] and f"  2  {WHOLE_PLUS} (" in result[2]
    if chosen:
        assert result[0] == 0 and f"{AUTHORS}:{chosen}" in result[1]
        assert result[2].count("Which one? 1 to 2:") == typed.count("\n")
    else:
        assert result[2].endswith("ssp-sam: no checkpoint was chosen\n") and result[0] == 2


def test_what_was_pulled_is_listed_and_removed(pulled, run):
    code, out, _ = run("pull", "--list")
    assert code == 0
    assert out.splitlines()[0] == f"{AUTHORS}:{WHOLE}, commit {pulled.commit[:7]}"
    assert out.splitlines()[1].startswith("  float16, ") and out.splitlines()[1].endswith(f" in {pulled.folder}")
    code, out, _ = run("pull", f"{AUTHORS}:unc", "--remove")
    assert code == 0 and out.startswith(f"removed {pulled.folder}: ") and not pulled.folder.exists()
    assert run("pull", "--list")[1].startswith("nothing was pulled into ")
    assert "nothing was pulled of 'wayneicloud/SSP-SAM'" in refusal(run("pull", AUTHORS, "--remove"))


def test_a_local_checkpoint_is_pulled_and_its_conversion_removed_when_it_is_gone(authors_hub, tmp_path, run):
    checkpoint = save_checkpoint(tmp_path / "best.pth")
    code, out, _ = run("pull", checkpoint)
    [model] = pulled_models()
    assert code == 0 and out.endswith(f"--model {model.folder}\n")
    assert run("pull", "--list")[1].startswith(f"{checkpoint}\n  float16, ")
    checkpoint.unlink()
    assert run("pull", checkpoint, "--remove")[0] == 0 and pulled_models() == []


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "expected a model, such as wayneicloud/SSP-SAM"),
        (["nothing.pth"], "'nothing.pth' is no file or folder"),
        (["someone/nobody"], "there is no model someone/nobody on the Hub"),
        ([AUTHORS, "--file", "x"], "holds no checkpoint 'x'"),
        ([AUTHORS, "--dtype", "int8"], "invalid choice: 'int8'"),
        ([AUTHORS, "--list", "--remove"], "not allowed with argument"),
    ],
)
def test_bad_usage_is_one_line(authors_hub, capsys, words, message):
    assert main(["pull", *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


# ---- --model elsewhere -----------------------------------------------------------------------------------------------


def test_segment_uses_what_was_pulled_without_a_network(pulled, authors_hub, run, tmp_path):
    make_image(60, 40).save(tmp_path / "photo.png")
    authors_hub.log.clear()
    words = (tmp_path / "photo.png", "the red ball", "a dog", "--json", "--model")
    expected = run("segment", *words, pulled.folder)
    for name in (AUTHORS, f"{AUTHORS}:{WHOLE}", f"{AUTHORS}:unc"):
        assert run("segment", *words, name)[:2] == expected[:2]
    assert expected[0] == 0 and json.loads(expected[1])["results"][0]["mask"]["counts"]
    assert authors_hub.log == []


def test_segment_pulls_what_is_missing(authors_hub, run, tmp_path):
    make_image(60, 40).save(tmp_path / "photo.png")
    code, out, err = run("segment", tmp_path / "photo.png", "a dog", "--json", "--model", f"{AUTHORS}:grefcoco")
    [model] = pulled_models()
    assert code == 0 and len(json.loads(out)["results"]) == 1 and model.origin.file == WITHOUT_TOWERS
    assert f"ssp-sam: fetching {WITHOUT_TOWERS} (" in err


def test_segment_takes_a_local_checkpoint(authors_hub, run, tmp_path):
    make_image(60, 40).save(tmp_path / "photo.png")
    checkpoint = save_checkpoint(tmp_path / "best.pth")
    assert run("segment", tmp_path / "photo.png", "a dog", "--json", "--model", checkpoint)[0] == 0


def test_a_model_that_is_not_one_names_the_way_to_it(authors_hub, run, tmp_path):
    make_image(60, 40).save(tmp_path / "photo.png")
    message = refusal(run("segment", tmp_path / "photo.png", "a dog", "--model", AUTHORS))
    assert message.startswith(f"ssp-sam: --model {AUTHORS} is not one model: {AUTHORS} holds 4 checkpoints; name one")
    assert message.endswith(f"; see ssp-sam pull {AUTHORS}")
