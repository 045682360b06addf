# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The command `ssp-sam segment`."""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import BertConfig, pipeline

import ssp_sam
from ssp_sam.cli.files import shown_while
from ssp_sam.cli.main import main
from tests.helpers.comparison import masks_agree, results_agree
from tests.helpers.models import make_image


@pytest.fixture
def run(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    """Runs the command on a tiny model in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    make_image(48, 36).save("photo.png")

    def run_once(*words: str, model: bool = True):
        code = main(["segment", *words, *(["--model", tiny_checkpoint] if model else [])])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_once


BOXES = ["--box", "1,1,5,5", "--box", "2,2,9,9"]


def write_foreign_model(folder: Path):
    """A model that transformers does not know, with code that leaves a file behind where it runs."""
    folder.mkdir()
    auto_map = {"AutoConfig": "foreign.ForeignConfig", "AutoModel": "foreign.ForeignModel"}
    (folder / "config.json").write_text(json.dumps({"model_type": "foreign", "auto_map": auto_map}))
    (folder / "foreign.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


def decoded(run_length: dict) -> np.ndarray:
    values = np.repeat(np.arange(len(run_length["counts"])) % 2, run_length["counts"])
    return values.reshape(run_length["size"][::-1]).T.astype(bool)


# ---- one image ------------------------------------------------------------------------------------------------------


def test_one_image_writes_an_overlay_and_says_where(run, tmp_path):
    code, out, err = run("photo.png", "the red car", "a dog")
    assert (code, err) == (0, "")
    assert "photo.png (48 x 36)" in out and "1. the red car: score" in out and "overlay overlay.png" in out
    with Image.open(tmp_path / "overlay.png") as overlay:
        assert overlay.format == "PNG" and overlay.width == 512 and overlay.height > 384


def test_the_overlay_goes_where_it_is_asked_for(run, tmp_path):
    assert run("photo.png", "a dog", "--output", "deep/down/result.jpg")[0] == 0
    with Image.open(tmp_path / "deep/down/result.jpg") as overlay:
        assert overlay.format == "JPEG"
    assert run("photo.png", "a dog", "--output", "deep")[0] == 0
    assert (tmp_path / "deep/photo_overlay.png").is_file()


def test_masks_are_written_at_image_size(run, tmp_path):
    code, out, _ = run("photo.png", "The Red car!", "a dog", "--masks-dir", "masks")
    assert code == 0 and not (tmp_path / "overlay.png").exists()
    names = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert names == ["photo_1_the-red-car.png", "photo_2_a-dog.png"]
    with Image.open(tmp_path / "masks" / names[0]) as mask:
        assert mask.mode == "L" and mask.size == (48, 36) and set(np.unique(np.asarray(mask))) <= {0, 255}


def test_json_carries_what_the_pipeline_returns(run, tiny_checkpoint, tmp_path):
    code, out, err = run("photo.png", "the red car", "a dog", "--json")
    assert (code, err) == (0, "") and not (tmp_path / "overlay.png").exists()
    record = json.loads(out)
    assert (record["image"], record["width"], record["height"]) == ("photo.png", 48, 36)
    expected = pipeline("referring-segmentation", model=tiny_checkpoint)("photo.png", ["the red car", "a dog"])
    for result, other in zip(record["results"], expected, strict=True):
        assert result["expression"] == other["label"]
        assert result["score"] == pytest.approx(other["score"], abs=1e-5)
        assert result["box"] == other["box"] and result["no_target"] == other["no_target"]
        assert np.array_equal(decoded(result["mask"]), np.asarray(other["mask"]) > 0)


def test_json_names_mask_files_and_overlay_where_they_are_written(run):
    _, out, _ = run("photo.png", "a dog", "--json", "--masks-dir", "masks", "--output", "o.png")
    record = json.loads(out)
    assert record["results"][0]["mask"] == {"file": "masks/photo_1_a-dog.png"} and record["overlay"] == "o.png"


def test_clicks_and_boxes_reach_the_model(run):
    def score(*words):
        return json.loads(run("photo.png", "a dog", "--json", *words)[1])["results"][0]["score"]

    plain, clicked = score(), score("--point", "5,5,1", "--point", "30.5,20,0")
    boxed = score("--box", "2,2,20,20")
    assert plain != clicked != boxed != plain


def test_each_expression_may_have_a_box_of_its_own(run):
    def results(*words):
        """Results as the pipeline gives them."""
        found = json.loads(run("photo.png", *words, "--json")[1])["results"]
        counts = [item["mask"]["counts"] for item in found]
        masks = [np.repeat(np.arange(len(lengths)) % 2, lengths) for lengths in counts]
        return [{**item, "label": item["expression"], "mask": mask} for item, mask in zip(found, masks, strict=True)]

    both = results("a dog", "a cat", "--box", "2,2,20,20", "--box", "20,10,40,30")
    assert results_agree(both, results("a dog", "--box", "2,2,20,20") + results("a cat", "--box", "20,10,40,30"))
    assert not masks_agree(both[0]["mask"], results("a dog", "--box", "20,10,40,30")[0]["mask"])


def test_an_image_comes_through_standard_input(run, monkeypatch):
    _, expected, _ = run("photo.png", "a dog", "--json")
    with open("photo.png", "rb") as stream:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(stream))
        code, out, err = run("-", "a dog", "--json", "--masks-dir", "masks")
        assert (code, err) == (0, "") and Path("masks/image_1_a-dog.png").is_file()
        assert json.loads(out)["results"][0]["score"] == json.loads(expected)["results"][0]["score"]


def test_expressions_of_a_file_follow_those_of_the_command(run):
    Path("wanted.txt").write_bytes("\ufeffthe red car\r\n\r\n  größte Tasse \n".encode())
    record = json.loads(run("photo.png", "a dog", "--expressions", "wanted.txt", "--json")[1])
    assert [item["expression"] for item in record["results"]] == ["a dog", "the red car", "größte Tasse"]
    assert run("--images", "photo.png", "--expressions", "wanted.txt")[0] == 0


def test_styles_legend_and_comparison_reach_the_drawing(run):
    sizes = set()
    for words in ((), ("--style", "boxes"), ("--no-legend",), ("--compare",), ("--style", "outline", "--no-legend")):
        assert run("photo.png", "a dog", "--output", "drawn.png", *words)[0] == 0
        with Image.open("drawn.png") as drawing:
            sizes.add((drawing.size, drawing.tobytes()))
    assert len(sizes) == 5
    assert run("photo.png", "a dog", "--style", "cutout", "--output", "cut.png")[0] == 0
    assert run("photo.png", "a dog", "--style", "cutout", "--output", "cut.jpg")[0] == 0
    with Image.open("cut.png") as cut, Image.open("cut.jpg") as white:
        assert (cut.mode, white.mode) == ("RGBA", "RGB") and cut.getextrema()[3][0] == 0


def test_formats_are_those_of_other_tools(run, tmp_path):
    words = ("photo.png", "the red car", "a dog", "--format")
    plain = json.loads(run(*words[:-1], "--json")[1])
    assert json.loads(run(*words, "json")[1]) == plain
    assert run(*words, "png")[0] == 0 and len(list(tmp_path.glob("masks/*.png"))) == 2
    code, out, err = run(*words, "coco")
    assert (code, err) == (0, "") and "coco annotations.json" in out and not Path("overlay.png").exists()
    dataset = json.loads(Path("annotations.json").read_text("utf-8"))
    found = [result for result in plain["results"] if not result["no_target"]]
    assert [image["file_name"] for image in dataset["images"]] == ["photo.png"]
    assert [annotation["segmentation"] for annotation in dataset["annotations"]] == [item["mask"] for item in found]
    assert run(*words, "labelme", "--output", "shapes")[0] == 0
    file = json.loads(Path("shapes/photo.json").read_text("utf-8"))
    assert file["imagePath"] == "../photo.png" and len(file["shapes"]) == len(found)


def test_a_series_goes_into_one_dataset_of_coco_and_leaves_out_what_cannot_be_read(run, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy("photo.png", folder)
    (tmp_path / "b/broken.png").write_text("no image")
    code, _, err = run("a dog", "--images", "a", "b", "--format", "coco", "--output", "all.json", "--quiet")
    assert code == 2 and "1 of 3 images" in err
    names = [image["file_name"] for image in json.loads(Path("all.json").read_text("utf-8"))["images"]]
    assert names == ["a/photo.png", "b/photo.png"]


@pytest.mark.parametrize(
    "words, message",
    [(("coco", "--output", "x.png"), "must end in .json"), (("labelme", "--output", "photo.png"), "must be a folder")],
)
def test_formats_go_where_they_can(run, words, message):
    code, _, err = run("photo.png", "a dog", "--format", *words)
    assert code == 2 and message in err


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"shapes": [{"label": "a dog", "points": [[1, 2]]}]}', "has shapes that somebody drew, and would be lost"),
        ('{"hand": "made"}', "is no file of labelme, and would be lost"),
        ("[", "is no file of labelme, and would be lost"),
    ],
)
def test_what_somebody_drew_in_labelme_is_not_written_over(run, content, message):
    Path("photo.json").write_text(content)
    code, _, err = run("a dog", "--images", "photo.png", "--format", "labelme", "--output", ".")
    assert code == 2 and message in err and Path("photo.json").read_text() == content
    Path("photo.json").unlink()
    for _ in range(2):  # but what the command itself has written is
        assert run("a dog", "--images", "photo.png", "--format", "labelme", "--output", ".")[0] == 0


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no folder in which nobody can write")
@pytest.mark.parametrize(
    "words",
    [
        ("--output", "/proc/x/overlay.png"),
        ("--masks-dir", "/proc/x"),
        ("--format", "coco", "--output", "/proc/x/all.json"),
        ("--format", "labelme", "--output", "/proc/x"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_computed(run, words):
    code, out, err = run("photo.png", "a dog", *words)
    assert (code, out) == (2, "") and "cannot write '/proc/x" in err and err.count("cannot write") == 1


def test_a_click_at_the_far_corner_is_in_the_image(run):
    assert run("photo.png", "a dog", "--point", "48,36,1", "--json")[0] == 0


def test_a_quiet_command_prints_only_what_is_asked_for(run):
    assert run("photo.png", "a dog", "--quiet") == (0, "", "") and Path("overlay.png").is_file()
    assert run("photo.png", "a dog", "--quiet", "--json")[1].count("\n") == 1
    assert run("nothere.png", "a dog", "--quiet")[2].count("\n") == 1
    assert run("photo.png", "the dog " * 100, "--quiet")[2] == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("terminal", "quiet", "shown"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_terminal_shows_what_is_waited_for(monkeypatch, terminal, quiet, shown):
    monkeypatch.setattr(sys, "stderr", stream := Terminal() if terminal else io.StringIO())
    with shown_while("loading", quiet, after=0.0):
        for _ in range(1000):
            if "/ loading" in stream.getvalue() or not shown:
                break
            time.sleep(0.01)
    assert ("| loading" in stream.getvalue()) is shown
    assert stream.getvalue().endswith("\r" if shown else "")


def test_what_takes_no_time_is_not_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream := Terminal())
    with shown_while("loading", after=60.0):
        pass
    assert stream.getvalue() == ""


def test_unknown_words_are_told(run):
    _, out, _ = run("photo.png", "the zyzzyva", "the red car", "--output", "o.png")
    first, second = out.splitlines()[1:3]
    assert first.endswith("; unknown words: zyzzyva") and first.count("unknown") == 1 and "unknown" not in second
    _, out, _ = run("photo.png", "the zyzzyva", "the red car", "--json")
    assert [result["unknown_words"] for result in json.loads(out)["results"]] == [["zyzzyva"], []]


# ---- several images -------------------------------------------------------------------------------------------------


def test_a_folder_means_all_its_images(run, tmp_path):
    (tmp_path / "photos").mkdir()
    for name in ("b.png", "a.png", "a.jpg"):
        make_image(20, 20).save(tmp_path / "photos" / name)
    (tmp_path / "photos/notes.txt").write_text("no image")
    code, out, err = run("photos", "a dog")
    assert code == 0 and "3/3" in err  # the progress bar
    names = sorted(path.name for path in (tmp_path / "overlays").iterdir())
    assert names == ["a_2_overlay.png", "a_overlay.png", "b_overlay.png"]
    assert out.count("1. a dog: ") == 3


def test_several_files_follow_the_expressions(run, tmp_path):
    make_image(20, 20).save("second.png")
    code, out, _ = run("a dog", "a cat", "--json", "--images", "photo.png", "second.png")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [record["image"] for record in records] == ["photo.png", "second.png"]
    assert [result["expression"] for result in records[1]["results"]] == ["a dog", "a cat"]


def test_a_broken_image_does_not_stop_the_others(run, tmp_path):
    (tmp_path / "broken.png").write_bytes((tmp_path / "photo.png").read_bytes()[:300])
    code, out, err = run("a dog", "--json", "--images", "broken.png", "photo.png")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 2 and "broken.png" in records[0]["error"] and "results" in records[1]
    assert "1 of 2 images could not be segmented" in err


# ---- bad usage and input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words, message",
    [
        (["photo.png"], "expected an image and at least one expression, got 'photo.png' alone"),
        ([], "expected an image and at least one expression; see ssp-sam segment --help"),
        (["photo.png", "--expressions", "nothere.txt"], "--expressions 'nothere.txt' cannot be read"),
        (["photo.png", "--expressions", "photo.png"], "--expressions 'photo.png' cannot be read"),
        (["photo.png", "--expressions", os.devnull], "holds no expression; write one in each line"),
        (["nowhere.png", "a dog"], "no image file or folder at 'nowhere.png'"),
        (["photo.png", "a dog", "  "], "expression 2 is empty, got '  '"),
        (["photo.png", "the \udcff dog"], r"expression 1 is no valid Unicode: character 4 is '\udcff'"),
        (["photo.png", "a" * 10_001], "expression 1 has 10001 characters"),
        (["photo.png", "a", "b", "c", *BOXES], "expected one --box, or one for each of 3 expressions, got 2"),
        (["photo.png", "a dog", "--model", "foreign"], "'foreign' is another kind of model, which brings code of its"),
        (["photo.png", "a dog", "--model", "no/such/model"], "'no/such/model' is no file or folder"),
        (["photo.png", "a dog", "--model", "./nothere"], "there is no file or folder at './nothere'"),
        (["photo.png", "a dog", "--model", "."], "--model . cannot be used: . holds no config.json and"),
        (["photo.png", "a dog", "--output", "photo.png"], "'photo.png' is an input image and would be lost"),
        (["photo.png", "a dog", "--output", "./photo.png"], "is an input image and would be lost"),
        (["photo.png", "a dog", "--output", "o.docx"], "--output must end in one of .bmp"),
        (["a dog", "--images", "photo.png", "--output", "o.png"], "--output must be a folder with --images or for"),
        (["photo.png", "photo.png", "a dog"], "got the file 'photo.png'; several images go after --images"),
        (["photo.png", "a dog", "--masks-dir", "photo.png"], "--masks-dir must be a folder, got the file 'photo.png'"),
        (["empty", "a dog"], "no images in the folder 'empty'"),
        (["a dog", "--images", "photo.png", "a cat"], "'a cat'; expressions go before --images"),
        (["photo.png", "a dog", "--point", "5,5,7"], "expected x,y,label with label 0 or 1, such as 120,80,1, got"),
        (["photo.png", "a dog", "--point", "500,5,1"], "--point 500,5 lies outside the image of 48 x 36 pixels"),
        (["photo.png", "a dog", "--box", "9,9,5,5"], "expected 0 <= x1 < x2 and 0 <= y1 < y2, got '9,9,5,5'"),
        (["photo.png", "a dog", "--box", "1,2,3"], "expected x1,y1,x2,y2, such as 10,20,200,180, got '1,2,3'"),
        (["photo.png", "a dog", "--box", "0,0,49,10"], "--box 0,0,49,10 reaches outside the image of 48 x 36"),
        (["empty", "a dog", "--box", "0,0,9,9"], "--point and --box are pixels of one image"),
        (["photo.png", "a dog", "--model", "other"], "expected a model of type 'ssp_sam' at 'other', got type 'bert'"),
        (["a dog", "--images", "photo.png", "--point", "1,1,1"], "--point and --box are pixels of one image"),
        (["photo.png", "a dog", "--device", "toaster"], "cannot use the device 'toaster'"),
        (["photo.png", "a dog", "--dtype", "int8"], "invalid choice: 'int8'"),
        (["text.png", "a dog"], "could not read an image from 'text.png'"),
    ],
)
def test_bad_input_exits_with_2_and_one_line(run, tmp_path, words, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("not an image")
    BertConfig(architectures=["BertModel"]).save_pretrained(tmp_path / "other")
    write_foreign_model(tmp_path / "foreign")
    before = (tmp_path / "photo.png").read_bytes()
    code, out, err = run(*words, model="--model" not in words)
    assert code == 2 and message in err and out == ""
    assert err.startswith("ssp-sam") and err.count("\n") == 1
    assert (tmp_path / "photo.png").read_bytes() == before


def test_a_fault_of_the_program_is_one_line_with_its_own_exit_code(run, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("so it goes")

    monkeypatch.setattr("ssp_sam.processing.visualization.overlay.draw_overlay", fail)
    assert run("photo.png", "a dog") == (1, "", "ssp-sam: unexpected ZeroDivisionError: so it goes\n")


def test_results_never_replace_an_input(run, tmp_path):
    make_image(20, 20).save("photo_1_a-dog.png")
    code, _, err = run("a dog", "--masks-dir", ".", "--images", "photo.png", "photo_1_a-dog.png")
    assert code == 2 and "is an input image and would be lost" in err


def test_a_hard_link_of_the_input_is_not_overwritten(run, tmp_path):
    os.link("photo.png", "copy.png")
    before = (tmp_path / "photo.png").read_bytes()
    code, _, err = run("photo.png", "a dog", "--output", "copy.png")
    assert code == 2 and "the result 'copy.png' is an input image" in err
    assert (tmp_path / "photo.png").read_bytes() == before


def test_webp_of_too_many_pixels_is_one_sentence(run, monkeypatch):
    monkeypatch.setattr("ssp_sam.cli.files.MAX_WEBP_SIDE", 500)
    code, _, err = run("photo.png", "a dog", "--output", "wide.webp")
    assert code == 2 and "WebP has at most 500 pixels a side, got 512 x" in err and not Path("wide.webp").exists()


def test_a_working_folder_that_is_gone_is_one_sentence(run, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, _, err = run("photo.png", "a dog")
    monkeypatch.chdir(tmp_path)
    assert (code, err) == (2, "ssp-sam: the working folder is gone; change into another one\n")


@pytest.mark.parametrize("words", [["x" * 5000, "a dog"], ["photo.png", "a dog", "--dtype", "y" * 5000]])
def test_long_names_are_told_in_one_short_line(run, words):
    code, _, err = run(*words)
    assert code == 2 and len(err) < 500 and err.count("\n") == 1


def test_an_expression_may_be_long_or_unknown_or_not_latin(run):
    for expression in ("the red car " * 50, "zyzzyva", "红色的汽车", "🚗"):
        assert run("photo.png", expression, "--masks-dir", "masks", "--output", "o.png")[0] == 0


def test_names_in_any_encoding_are_told_on_any_terminal(run, tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    try:
        os.rename("photo.png", b"photos/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes names in UTF-8 alone")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert run("photos", "das grüne 車")[0] == 0
    said = terminal.buffer.getvalue().decode("ascii")
    assert r"photos/caf\udce9.png (48 x 36)" in said and r"das gr\xfcne \u8eca" in said


@pytest.mark.parametrize("command", ["segment", "explain", "export", "export-onnx", "info", "push", "serve"])
def test_no_command_runs_the_code_of_a_foreign_model_or_asks_to(run, command, tmp_path, monkeypatch, capsys):
    write_foreign_model(tmp_path / "foreign")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("the terminal was asked"))
    words = {"segment": ["photo.png", "a dog"], "explain": ["photo.png", "a dog"], "export": ["out"]}
    words |= {"export-onnx": ["out"], "push": ["--repo-id", "a/b", "--dry-run"], "serve": ["foreign"]}
    model = [] if command == "serve" else ["--model", "foreign"]
    assert main([command, *words.get(command, []), *model]) == 2
    error = capsys.readouterr().err
    assert "'foreign' is another kind of model, which brings code of its own to run" in error and error.count("\n") == 1
    assert not (tmp_path / "foreign" / "ran").exists()


def test_a_tokenizer_with_code_of_its_own_is_not_run_either(run, tiny_checkpoint, tmp_path, monkeypatch):
    shutil.copytree(tiny_checkpoint, "mixed")
    (tmp_path / "mixed" / "foreign.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    for name in ("config.json", "tokenizer_config.json", "processor_config.json"):
        content = json.loads((tmp_path / "mixed" / name).read_text("utf-8"))
        content["auto_map"] = {
            "AutoConfig": "foreign.Config",
            "AutoModel": "foreign.Model",
            "AutoTokenizer": ["foreign.Tokenizer", None],
            "AutoProcessor": "foreign.Processor",
        }
        (tmp_path / "mixed" / name).write_text(json.dumps(content))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("the terminal was asked"))
    code, _, err = run("photo.png", "a dog", "--model", "mixed", model=False)
    assert code in (0, 2) and err.count("\n") <= 1 and not (tmp_path / "ran").exists()


# ---- the installed command ------------------------------------------------------------------------------------------


@pytest.mark.long  # `make demo` does, too
def test_the_command_runs_as_a_process(tiny_checkpoint, tmp_path, capsys):
    make_image(20, 20).save(tmp_path / "photo.png")
    command = [sys.executable, "-m", "ssp_sam.cli.main"]
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"ssp-sam {ssp_sam.__version__}"
    words = ["segment", "photo.png", "a dog", "--model", tiny_checkpoint, "--output", "out.png"]
    done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "ssp-sam" not in done.stderr and (tmp_path / "out.png").is_file()
