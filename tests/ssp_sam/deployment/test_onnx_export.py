# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Export to ONNX: the graphs give the model's numbers, for any number of images, expressions, words and points."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.exporters import ExportedModel

from scripts.compare_runtimes import broken_promises, compare
from ssp_sam import ReferringSegmentationPipeline, SspSamModel, SspSamProcessor
from ssp_sam.cli.main import main
from ssp_sam.deployment.onnx_export import ImageEncoder, PointPrompts, _export, export_onnx
from ssp_sam.deployment.segment_onnx import OnnxSegmenter
from ssp_sam.training.evaluation.run import predict_image
from ssp_sam.training.evaluation.samples import SceneSamples
from tests.helpers.comparison import boxes_agree, masks_agree
from tests.helpers.models import KINDS, make_image, make_tokenizer, run, shallow_model, tiny_inputs, tiny_model
from tests.ssp_sam.deployment.test_segment_onnx import EXPRESSIONS, save_picture, tiny_processor

# Removes what the script must do without, then runs it as a user would.
WITHOUT_TORCH = """
import os, runpy, sys
for name in ("torch", "transformers", "ssp_sam", "huggingface_hub", "safetensors"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])  # as for any script
runpy.run_path(sys.argv[0], run_name="__main__")
"""
NEEDS_ONNX = pytest.mark.skipif(
    None in map(importlib.util.find_spec, ("onnx", "onnxruntime", "onnxscript")),
    reason="ONNX needs the extra ssp-sam[onnx]",
)


# To export is to trace every operation, half a minute for each combination of towers. `make test` exports the graph
# below, and traces the widest one in test_model_deployment.py.
@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.long) for kind in KINDS])
def exported(request, tmp_path_factory):
    """A tiny random model, its processor, the folder they were exported to by the command, and its segmenter."""
    model, processor = shallow_model(request.param), tiny_processor(request.param)
    processor.no_target_threshold, processor.min_mask_pixels = 1.0, 0
    checkpoint, folder = (tmp_path_factory.mktemp(name) for name in ("checkpoint", "onnx"))
    model.save_pretrained(checkpoint)
    processor.save_pretrained(checkpoint)
    assert main(["export-onnx", str(folder), "--model", str(checkpoint)]) == 0
    return request.param, model, processor, folder, OnnxSegmenter(folder, num_threads=1)


def expression_inputs(kind: str, num_expressions: int, num_words: int) -> dict[str, torch.Tensor]:
    """Expressions of different lengths: padded behind, and for BERT one also in front."""
    words = tiny_inputs(kind, num_images=num_expressions, num_words=num_words)
    if num_expressions > 1 and num_words > 3:
        words["attention_mask"][0, -2:] = 0
        words["input_ids"][0, -2:] = 0
        if kind == "paper":
            words["input_ids"][0, -3] = 33
        else:
            words["attention_mask"][1, :2] = 0
    return {name: words[name] for name in ("input_ids", "attention_mask")}


def no_points(num_expressions: int) -> dict[str, np.ndarray]:
    shape = (num_expressions, 1, 0)
    return {"input_points": np.zeros((*shape, 2), np.float32), "input_labels": np.zeros(shape, np.int64)}


def as_numpy(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in tensors.items()}


@NEEDS_ONNX
@pytest.mark.parametrize("num_images, num_expressions, num_words", [(3, 5, 6), (1, 1, 2), (2, 9, 20), (4, 1, 1)])
def test_graphs_take_any_number_of_images_expressions_and_words(exported, num_images, num_expressions, num_words):
    kind, model, _, _, segmenter = exported
    pixels = {name: value for name, value in tiny_inputs(kind, num_images).items() if "pixel" in name}
    words = expression_inputs(kind, num_expressions, num_words)
    image_index = torch.arange(num_expressions) % num_images
    expected = run(model, **pixels, **words, image_index=image_index)
    features = segmenter.run("image_encoder", **as_numpy(pixels))
    given = segmenter.run(
        "mask_decoder",
        **features,
        **as_numpy(words),
        **no_points(num_expressions),
        image_index=image_index.numpy(),
    )
    assert set(given) == set(expected)
    for name, value in given.items():
        np.testing.assert_allclose(value, expected[name].numpy(), atol=2e-4, rtol=1e-3, err_msg=name)


@NEEDS_ONNX
@pytest.mark.parametrize("prompts", [{"click"}, {"box"}, {"click", "box"}])
def test_clicks_and_box_beside_words_give_the_masks_of_the_model(exported, prompts):
    _, model, processor, _, segmenter = exported
    picture, texts = make_image(57, 31), ["the red car", "a dog"]
    clicks, labels, box = [[10, 20], [40, 5]], [1, 0], [5, 6, 40, 30]
    inputs = processor(
        picture,
        texts,
        input_points=[clicks] * 2 if "click" in prompts else None,
        input_labels=[labels] * 2 if "click" in prompts else None,
        input_boxes=[box] * 2 if "box" in prompts else None,
    )
    sizes = inputs.pop("original_sizes")
    inputs.pop("reshaped_input_sizes")
    expected = processor.post_process_referring_segmentation(run(model, **inputs), sizes, clicked=[True, True])
    given = segmenter(
        picture,
        texts,
        input_points=clicks if "click" in prompts else None,
        input_labels=labels if "click" in prompts else None,
        input_box=box if "box" in prompts else None,
    )
    assert [answer["score"] for answer in given] == pytest.approx([row["score"] for row in expected], abs=1e-4)
    for wanted, answer in zip(expected, given, strict=True):
        assert masks_agree(answer["mask"], wanted["mask"])
        assert boxes_agree(answer["box_xyxy"], wanted["box_xyxy"])


@NEEDS_ONNX
@pytest.mark.parametrize("name", ["portrait", "tiny", "grey", "transparent", "turned"])
def test_the_script_gives_the_answers_of_processor_and_model(exported, name, tmp_path):
    _, model, processor, _, segmenter = exported
    path = save_picture(name, tmp_path)
    inputs = processor(images=str(path), text=EXPRESSIONS)
    sizes = inputs.pop("original_sizes")
    inputs.pop("reshaped_input_sizes")
    expected = processor.post_process_referring_segmentation(run(model, **inputs), sizes)
    given = segmenter(path, EXPRESSIONS)
    assert [answer["label"] for answer in given] == EXPRESSIONS
    for wanted, answer in zip(expected, given, strict=True):
        assert masks_agree(answer["mask"], wanted["mask"])
        assert answer["no_target"] == wanted["no_target"]
        assert answer["score"] == pytest.approx(wanted["score"], abs=1e-4)
        assert answer["box_xyxy"] == pytest.approx(wanted["box_xyxy"], abs=0.01)


@NEEDS_ONNX
def test_the_folder_segments_in_a_process_without_torch_and_transformers(exported, tmp_path):
    _, _, _, folder, segmenter = exported
    picture = make_image(57, 31)
    picture.save(tmp_path / "photo.png")
    words = [sys.executable, "-c", WITHOUT_TORCH, str(folder / "segment_onnx.py"), "photo.png", "the red car", "a dog"]
    words += ["--masks-dir", "masks", "--output", "overlay.png", "--threads", "1", "--point", "10,20,1"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 2
    expected = segmenter(picture, ["the red car", "a dog"], input_points=[[10, 20]])
    for answer, name in zip(expected, ("1_the-red-car.png", "2_a-dog.png"), strict=True):
        with Image.open(tmp_path / "masks" / name) as mask:
            assert masks_agree(mask, answer["mask"])
    with Image.open(tmp_path / "overlay.png") as overlay:
        assert overlay.width == 512 and overlay.height > 279  # enlarged, with a legend below, as ssp-sam segment has it


@NEEDS_ONNX
@pytest.mark.long
def test_patches_may_be_pooled_to_a_grid_that_does_not_divide_the_canvas():
    import onnx_ir
    import onnxruntime

    model = shallow_model("single tower", grid_size=3).requires_grad_(False)
    program = _export(ImageEncoder(model), {"pixel_values": torch.zeros(2, 3, 32, 32)}).program
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(program).SerializeToString())
    pixels = tiny_inputs("single tower")["pixel_values"]
    given = session.run(["patch_features"], {"pixel_values": pixels.numpy()})[0]
    expected = model.get_image_features(pixel_values=pixels).patch_features
    np.testing.assert_allclose(given, expected.numpy(), atol=1e-5)


@NEEDS_ONNX
def test_graphs_predict_what_the_pipeline_predicts_on_scenes(exported):
    kind, model, processor, _, segment_onnx = exported
    scenes = SceneSamples("test", 2, 2)

    def pipeline_of(weights):
        segmenter = ReferringSegmentationPipeline(model=weights, processor=processor, device="cpu")

        def predict(image, expressions):
            found = [raw.read() for raw in predict_image(segmenter, image, expressions)]
            return [{**prediction, "mask": prediction["mask"].numpy()} for prediction in found]

        return predict

    same = compare({"float32": pipeline_of(model), "onnx float32": segment_onnx}, scenes)
    other = compare({"float32": pipeline_of(shallow_model(kind, seed=1)), "onnx float32": segment_onnx}, scenes)
    assert broken_promises(same) == [] and len(broken_promises(other)) == 1


@NEEDS_ONNX
def test_graphs_do_not_tell_where_they_were_made(exported):
    for path in exported[3].glob("*.onnx"):
        assert b".py" not in path.read_bytes()


@NEEDS_ONNX
def test_transformers_loads_the_exported_folder(exported):
    kind, model, _, folder, _ = exported
    pixels = {name: value for name, value in tiny_inputs(kind).items() if "pixel" in name}
    features = ExportedModel.from_pretrained(folder).runners["image_encoder"](**pixels)
    expected = model.get_image_features(**pixels).image_embeddings
    torch.testing.assert_close(features["image_embeddings"], expected, atol=1e-4, rtol=1e-4)


def test_one_list_of_points_embeds_as_sams_own_prompts():
    encoder = tiny_model("single tower").sam.prompt_encoder
    clicks, labels = torch.rand(2, 1, 3, 2) * 32, torch.tensor([[[1, 0, 1]], [[1, -10, -10]]])
    box = torch.tensor([[[2.0, 3, 20, 30]], [[5.0, 6, 7, 8]]])
    corners, corner_labels = box.reshape(2, 1, 2, 2), torch.tensor([[[2, 3]], [[2, 3]]])
    nowhere, no_point = torch.zeros(2, 1, 1, 2), torch.full((2, 1, 1), -1)
    cases = {
        "clicks": ((clicks, labels, None), (clicks, nowhere), (labels, no_point)),
        "box": ((None, None, box), (corners,), (corner_labels,)),
        "both": ((clicks, labels, box), (clicks, corners), (labels, corner_labels)),
    }
    for asked, points, marks in cases.values():
        with torch.no_grad():
            expected = encoder(*asked, None)
            given = PointPrompts(encoder)(torch.cat(points, dim=2), torch.cat(marks, dim=2))
        for wanted, value in zip(expected, given, strict=True):
            torch.testing.assert_close(value, wanted)


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny() -> tuple[SspSamModel, SspSamProcessor]:
    return tiny_model("single tower"), tiny_processor("single tower")


def test_missing_packages_are_named_with_the_extra(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs onnx and onnxscript; run: pip install 'ssp-sam\[onnx\]'"):
        export_onnx(*tiny, tmp_path)


def test_a_missing_onnxruntime_is_named_with_the_extra(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"needs onnxruntime; run: .*'ssp-sam\[onnx\]'"):
        OnnxSegmenter(tmp_path)


@NEEDS_ONNX
def test_a_file_in_place_of_the_folder_is_refused_in_one_line(tiny_checkpoint, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    assert main(["export-onnx", str(tmp_path / "taken"), "--model", tiny_checkpoint]) == 2
    error = capsys.readouterr().err
    assert "expected a folder to export to, got the file" in error and error.count("\n") == 1
    assert (tmp_path / "taken").read_text() == "mine"


@NEEDS_ONNX
def test_a_folder_of_other_files_is_left_alone(tiny, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="holds other files and is left alone; name a new folder"):
        export_onnx(*tiny, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@NEEDS_ONNX
def test_another_precision_is_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"torch\.float32 or torch\.float16 to export in, got torch\.float64"):
        export_onnx(*tiny, tmp_path, torch.float64)


@NEEDS_ONNX
def test_a_processor_that_skips_a_step_is_refused(tiny, tmp_path):
    processor = SspSamProcessor.from_model_config(tiny[0].config, make_tokenizer())
    processor.image_processor.do_pad = False
    with pytest.raises(ValueError, match="normalises and pads RGB images, got do_pad False"):
        export_onnx(tiny[0], processor, tmp_path)


@NEEDS_ONNX
def test_a_folder_without_graphs_is_refused_by_what_it_lacks(tiny, tmp_path):
    tiny[1].save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no image_encoder\.onnx in .*; give a folder that ssp-sam export-onnx wrote"):
        OnnxSegmenter(tmp_path)
