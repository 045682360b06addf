# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Eight bits by torchao through transformers: models and pipelines load, save and run with no code of this library."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn
from transformers import AutoModel, TorchAoConfig, pipeline

from ssp_sam import ReferringSegmentationPipeline, SspSamModel
from ssp_sam.cli.main import main
from tests.helpers.models import KINDS, make_image, make_pipeline, run, tiny_inputs, tiny_model

torchao = pytest.importorskip("torchao.quantization", reason="eight bits need the extra ssp-sam[quantization]")


def int8() -> TorchAoConfig:
    return TorchAoConfig(torchao.Int8DynamicActivationInt8WeightConfig())


def whole_numbers(model) -> list[str]:
    """The layers whose weights are stored in eight bits."""
    layers = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return [name for name, layer in layers if getattr(layer.weight, "qdata", layer.weight).dtype == torch.int8]


def multiplies_exactly() -> bool:
    """Whether torch multiplies eight-bit numbers rightly here; sums of oneDNN overflow on processors without VNNI."""
    one, other = (torch.full((32, 32), value, dtype=torch.int8) for value in (127, -128))
    return torch.equal(torch._int_mm(one, other), one.int() @ other.int())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_runs_in_eight_bits(kind, tmp_path):
    model, inputs = tiny_model(kind), tiny_inputs(kind)
    model.save_pretrained(tmp_path)
    quantised = AutoModel.from_pretrained(tmp_path, dtype=torch.float32, quantization_config=int8())
    assert len(whole_numbers(quantised)) == sum(isinstance(module, nn.Linear) for module in model.modules())
    expected, found = run(model, **inputs), run(quantised, **inputs)
    for name in ("pred_boxes", "pred_masks"):
        difference = (found[name] - expected[name]).abs().mean()
        assert difference > 0, name
        assert difference < 0.5 * expected[name].std() or not multiplies_exactly(), name


def test_a_pipeline_in_eight_bits_runs_on_a_cpu_and_is_saved_and_loaded(tiny_checkpoint, tmp_path, capsys):
    options = {"dtype": torch.bfloat16, "model_kwargs": {"quantization_config": int8()}}
    if not multiplies_exactly():
        with pytest.raises(ValueError, match="eight-bit products overflow"):
            pipeline("referring-segmentation", model=tiny_checkpoint, **options)
        return
    segmenter = pipeline("referring-segmentation", model=tiny_checkpoint, **options)
    result = segmenter(make_image(), "the red car")[0]
    assert result["mask"].size == (40, 30) and whole_numbers(segmenter.model)
    segmenter.save_pretrained(tmp_path / "int8")
    again = pipeline("referring-segmentation", model=str(tmp_path / "int8"))
    assert whole_numbers(again.model) == whole_numbers(segmenter.model) and again.model.dtype == torch.bfloat16
    assert again(make_image(), "the red car")[0]["score"] == pytest.approx(result["score"])
    make_image().save(tmp_path / "photo.png")
    words = [str(tmp_path / "photo.png"), "the red car", "--output", str(tmp_path / "overlay.png")]
    assert main(["segment", *words, "--model", str(tmp_path / "int8")]) == 0, capsys.readouterr().err


def test_eight_bits_in_float16_are_refused_since_their_masks_are_nan(tmp_path):
    folder = tmp_path / "half"
    half = make_pipeline()
    half.model.half()
    half.save_pretrained(folder)
    message = "expected a model quantised by torchao in bfloat16 or float32, got float16"
    with pytest.raises(ValueError, match=message):
        pipeline("referring-segmentation", model=str(folder), model_kwargs={"quantization_config": int8()})
    model = SspSamModel.from_pretrained(folder, dtype=torch.float16, quantization_config=int8())
    with pytest.raises(ValueError, match=message):
        ReferringSegmentationPipeline(model=model, processor=half.processor)


@pytest.mark.parametrize(
    "configuration, refused",
    [("Int8DynamicActivationInt8WeightConfig", True), ("Int8WeightOnlyConfig", False)],
)
def test_products_that_overflow_are_refused_where_they_are_used(tiny_checkpoint, monkeypatch, configuration, refused):
    monkeypatch.setattr(
        torch, "_int_mm", lambda rows, columns: torch.zeros(len(rows), columns.shape[1], dtype=torch.int32)
    )
    kwargs = {"quantization_config": TorchAoConfig(getattr(torchao, configuration)())}
    with pytest.raises(ValueError, match="eight-bit products overflow") if refused else nullcontext():
        pipeline("referring-segmentation", model=tiny_checkpoint, dtype=torch.bfloat16, model_kwargs=kwargs)
