# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The command `ssp-sam` as a whole: its help, the example of every subcommand, and how faults are told."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ssp_sam import EMBEDDED_CHECKPOINT
from ssp_sam.cli import info
from ssp_sam.cli import main as cli
from ssp_sam.cli.main import COMMANDS, GROUPS, main, make_parser
from ssp_sam.hub import check, push
from ssp_sam.modeling_ssp_sam.conversion import pull as pull_module
from ssp_sam.modeling_ssp_sam.conversion.pulled_models import PulledModel
from ssp_sam.training import train as training
from tests.helpers.original_checkpoints import save_checkpoint, save_tokenizer

ROOT = Path(__file__).resolve().parents[3]
needs_checkpoint = pytest.mark.skipif(
    not EMBEDDED_CHECKPOINT.is_dir(), reason="this checkout has no embedded checkpoint"
)


# ---- what an example needs beside photo.png, by the name of its subcommand ------------------------------------------


def _prepared(monkeypatch):
    from ssp_sam.training.preparation.prepare import prepare
    from ssp_sam.training.preparation.settings import PreparationSettings
    from tests.helpers.raw_benchmarks import write_coco_images, write_grefcoco

    images = write_coco_images(Path("images"))
    settings = PreparationSettings("grefcoco", str(write_grefcoco(Path())), str(images), allow_partial=True)
    prepare(settings, Path("prepared"))


def _original(monkeypatch):
    save_checkpoint(Path("best.pth"))
    save_tokenizer(Path("clip-tokenizer"))


def _custom_dataset(monkeypatch):
    from scripts.make_custom_dataset import write_dataset

    write_dataset("textures", Path("my_images"), 4)


def _short_training(monkeypatch):
    # The configuration's own length is for learning something, which is no matter here.
    def short(settings, publish):
        data = replace(settings.data, num_train_scenes=4, num_eval_scenes=4)
        return whole(settings._replace(data=data, optimization=replace(settings.optimization, min_steps=2)), publish)

    whole = training.train
    monkeypatch.setattr(training, "train", short)
    _custom_dataset(monkeypatch)


def _any_port(monkeypatch):
    from ssp_sam.deployment import endpoint_server

    class Server(endpoint_server.EndpointServer):
        def __init__(self, address, *how):
            super().__init__((address[0], 0), *how)

        def serve_forever(self):
            raise KeyboardInterrupt

    monkeypatch.setattr(endpoint_server, "EndpointServer", Server)


def _closed_page(monkeypatch):
    gradio = pytest.importorskip("gradio")
    monkeypatch.setattr(gradio.Blocks, "block_thread", lambda page: page.close(verbose=False))


def _checked(monkeypatch):
    # That the check finds differences is shown with the exports; it takes a process of its own.
    for module in (check, push):
        monkeypatch.setattr(module, "check_export", lambda *_: "checked")


def _without_graphs(monkeypatch):
    # Tracing takes most of a minute and is shown with the graphs.
    from ssp_sam.deployment import onnx_export

    monkeypatch.setattr(onnx_export, "export_onnx", lambda model, processor, folder, dtype: Path(folder))


def _authors_repository(monkeypatch):
    # The example names the authors' repository on the Hub; its parts are shown with the subcommand.
    monkeypatch.setattr(pull_module, "pull_model", lambda *_, **__: PulledModel(EMBEDDED_CHECKPOINT))


def _folder_of_images(_):
    Path("images").mkdir()
    shutil.copy("photo.png", "images")


NEEDS = {
    "annotate": _folder_of_images,
    "convert": _original,
    "demo": _closed_page,
    "export": _checked,
    "export-onnx": _without_graphs,
    "prepare": _custom_dataset,
    "pull": _authors_repository,
    "push": _checked,
    "serve": _any_port,
    "show-data": _prepared,
    "train": _short_training,
}


@needs_checkpoint
@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_at_the_end_of_each_help_runs(name, tmp_path, monkeypatch, capsys):
    assert main([name, "--help"]) == 0
    help_text = capsys.readouterr().out
    command, example = re.search(r"\nexample:\n  ssp-sam (\S+)(.*)\n\Z", help_text).groups()
    assert command == name
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "examples" / "scene.png", "photo.png")
    if name in NEEDS:
        NEEDS[name](monkeypatch)
    assert main([command, *shlex.split(example)]) == 0, capsys.readouterr().err


# ---- help and faults ------------------------------------------------------------------------------------------------


def test_the_help_names_every_subcommand_once_and_in_its_group(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for title, commands in GROUPS.items():
        listed = re.search(rf"^{title}:\n((?:  .+\n)+)", text, re.M)[1]
        assert re.findall(r"^  (\S+)", listed, re.M) == list(commands)
    assert all(len(re.findall(rf"^ +{name} ", text, re.M)) == 1 for name in COMMANDS)


def test_every_module_of_a_subcommand_is_listed():
    folder = Path(cli.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__", "main", "files", "model"}
    assert modules == {name.replace("-", "_") for name in COMMANDS}


WITHOUT_WORK = """
import sys
sys.argv = ["bin/ssp-sam"]
from ssp_sam.cli.main import COMMANDS, main
for words in (["--version"], ["--help"], ["fly"], *([name, "--help"] for name in COMMANDS)):
    main(words)
    heavy = {"torch", "transformers", "numpy", "PIL", "datasets", "huggingface_hub", "tqdm"} & set(sys.modules)
    assert not heavy, f"{words} imports {heavy}"
"""


def test_no_help_waits_for_the_import_of_anything_heavy():
    done = subprocess.run([sys.executable, "-c", WITHOUT_WORK], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("example:") == len(COMMANDS)


def test_a_subcommand_imports_none_of_the_others(monkeypatch):
    asked = []
    monkeypatch.setattr(cli.importlib, "import_module", lambda name, package: asked.append(name) or info)
    make_parser(["info"])
    assert asked == [".info"]


def test_code_of_a_foreign_tokenizer_is_refused_without_a_question(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("the terminal was asked"))
    save_checkpoint(Path("best.pth"))
    Path("foreign").mkdir()
    auto_map = {"AutoConfig": "code.Config", "AutoTokenizer": ["code.Tokenizer", None]}
    for name in ("config.json", "tokenizer_config.json"):
        Path("foreign", name).write_text(json.dumps({"model_type": "foreign", "auto_map": auto_map}))
    Path("foreign", "code.py").write_text("open('ran', 'w')\n")
    assert main(["convert", "--checkpoint", "best.pth", "--tokenizer", "foreign", "--output", "out"]) == 2
    said = capsys.readouterr().err
    assert (
        "from foreign: it brings code of its own to run" in said
        and "trust_remote_code" not in said
        and said.count("\n") == 1
    )
    assert not Path("ran").exists() and not Path("out").exists()


@pytest.mark.parametrize("words", [[], ["fly"], ["segment"], ["segment", "--model"]])
def test_bad_usage_is_one_line(words, capsys):
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "--help" in said.err


def test_a_fault_of_the_program_is_one_line(monkeypatch, capsys):
    def fail(options):
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(info, "run", fail)
    assert main(["info"]) == 1
    assert capsys.readouterr().err == "ssp-sam: unexpected RuntimeError: first line\n"


# ---- info -----------------------------------------------------------------------------------------------------------


def test_info_tells_versions_devices_and_the_model(tiny_checkpoint, capsys):
    assert main(["info", "--model", tiny_checkpoint]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert {"ssp-sam", "python", "torch", "transformers", "devices", "model"} <= set(lines)
    assert "cpu (" in lines["devices"] and tiny_checkpoint in lines["model"] and "ssp_sam" in lines["model"]


def test_info_says_what_is_not_installed(tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(info, "OPTIONAL", ("surely-not-installed",))
    assert main(["info", "--model", tiny_checkpoint]) == 0
    assert re.search(r"^surely-not-installed +not installed$", capsys.readouterr().out, re.M)


@pytest.mark.parametrize(
    "line, expected",
    [("ssp-sam seg", {"segment"}), ("ssp-sam segment --sty", {"--style"}), ("ssp-sam segment --style cu", {"cutout"})],
)
def test_the_shell_completes_subcommands_options_and_choices(line, expected, tmp_path):
    pytest.importorskip("argcomplete", reason="argcomplete is not installed: pip install ssp-sam[completion]")
    said = tmp_path / "said"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE_IFS": "\n"}
    code = "import sys; sys.argv = ['ssp-sam']; from ssp_sam.cli.main import main; main(); sys.exit('went on')"
    environment = {**os.environ, **asked, "_ARGCOMPLETE_STDOUT_FILENAME": str(said), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-X", "importtime", "-c", code], env=environment, capture_output=True)
    assert {word.strip() for word in said.read_text().splitlines()} == expected
    assert b" torch" not in done.stderr and b"went on" not in done.stderr
