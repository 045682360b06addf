# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The converter on checkpoints of the original's variant on SigLIP 2."""

import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, SiglipConfig, SiglipModel, pipeline

from ssp_sam import SspSamConfig
from ssp_sam.modeling_ssp_sam.conversion.checkpoint_files import CheckpointError
from ssp_sam.modeling_ssp_sam.conversion.convert import convert, read_original
from ssp_sam.modeling_ssp_sam.conversion.towers import tower_sources
from tests.helpers.golden_reference import golden_inputs, golden_model, golden_sizes
from tests.helpers.original_checkpoints import CLIP, save_checkpoint, save_siglip_tokenizer, save_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("original") / "best.pth", "siglip2")


@pytest.fixture(scope="module")
def siglip_folder(tmp_path_factory):
    """A `SiglipModel` with the golden towers and a tokenizer."""
    model = golden_model("siglip2")
    fields = {part: getattr(model.config, part).to_dict() for part in ("vision_config", "text_config")}
    siglip = SiglipModel(SiglipConfig(**fields))
    siglip.vision_model, siglip.text_model = model.vision_model, model.text_model
    folder = tmp_path_factory.mktemp("siglip")
    siglip.save_pretrained(folder)
    return save_siglip_tokenizer(folder)


def assert_golden_weights(folder):
    found, wanted = AutoModel.from_pretrained(folder).state_dict(), golden_model("siglip2").state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_the_names_say_that_the_towers_are_siglips(checkpoint, tmp_path):
    config = convert(checkpoint, tmp_path / "out")  # without --variant
    assert_golden_weights(tmp_path / "out")
    expected = SspSamConfig.from_preset("siglip2", **golden_sizes("siglip2"))
    for part in ("vision_config", "text_config"):
        found, wanted = (getattr(which, part).to_dict() for which in (config, expected))
        # Golden heads are narrower than the 64 channels of published models.
        differing = {name for name in wanted if found[name] != wanted[name]}
        assert differing <= {"num_attention_heads", "transformers_version"}
    assert config.projection_dim == 96 and config.grid_size == 7 and config.gru_reads_padding


def test_a_missing_siglip_comes_from_its_model_with_its_heads(siglip_folder, tmp_path):
    checkpoint = save_checkpoint(tmp_path / "best.pth", "siglip2", without=CLIP)
    convert(checkpoint, tmp_path / "out", clip_model=str(siglip_folder), num_heads=4)
    assert_golden_weights(tmp_path / "out")
    inputs = golden_inputs("siglip2")
    with torch.no_grad():
        found = AutoModel.from_pretrained(tmp_path / "out").eval()(**inputs).pred_masks
        expected = golden_model("siglip2")(**inputs).pred_masks
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_the_processor_prepares_expressions_as_the_original_does(checkpoint, siglip_folder, tmp_path):
    convert(checkpoint, tmp_path / "out", tokenizer=str(siglip_folder))
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    inputs = processor(images=Image.new("RGB", (60, 40), "red"), text="  The Dog ")
    ids = inputs["input_ids"][0].tolist()
    letters = processor.tokenizer.convert_ids_to_tokens(ids[:8])
    assert len(ids) == 64 and letters == list("the\u2581dog.") and set(ids[8:]) == {0}
    assert processor.image_processor.semantic_mean == [0.5, 0.5, 0.5] == processor.image_processor.semantic_std
    segmenter = pipeline("referring-segmentation", model=str(tmp_path / "out"))
    answers = segmenter(Image.new("RGB", (60, 40), "red"), ["the red ball", "a dog"])
    assert [answer["label"] for answer in answers] == ["the red ball", "a dog"]


@pytest.mark.parametrize(
    "name, variant, message",
    [
        ("siglip2", "only_VAD", "has patch_proj, which checkpoints on SigLIP have; got variant 'only_VAD'"),
        ("paper_b16", "siglip2", "lacks patch_proj, which checkpoints on SigLIP have; got variant 'siglip2'"),
    ],
)
def test_a_variant_of_other_towers_is_refused(name, variant, message, tmp_path):
    path = save_checkpoint(tmp_path / "best.pth", name)
    with pytest.raises(CheckpointError, match=message):
        convert(path, tmp_path / "out", variant=variant)


def test_clip_is_no_substitute(siglip_folder, tmp_path):
    path = save_checkpoint(tmp_path / "best.pth", "siglip2", without=CLIP)
    with pytest.raises(CheckpointError, match="holds no SigLIP .* give a SiglipModel by --clip-model"):
        convert(path, tmp_path / "out")
    with pytest.raises(CheckpointError, match="was trained on SigLIP, got a file of CLIP"):
        convert(path, tmp_path / "out", clip=tmp_path / "ViT-B-16.pt")
    path = save_checkpoint(tmp_path / "clip.pth", without=CLIP)
    with pytest.raises(CheckpointError, match="is a model of type 'siglip'; expected .* of type 'clip'"):
        convert(path, tmp_path / "out", clip_model=str(siglip_folder))


def test_a_tokenizer_whose_padding_is_not_0_is_refused(checkpoint, tmp_path):
    for folder in (save_siglip_tokenizer(tmp_path / "other", pad_token="<eos>"), save_tokenizer(tmp_path / "clip")):
        with pytest.raises(ValueError, match="knows ids below 200 and whose padding is 0; its padding is (1|199),"):
            convert(checkpoint, tmp_path / "out", tokenizer=str(folder))


def test_what_is_missing_comes_from_siglip_2_on_the_hub(checkpoint, tmp_path):
    siglip = "google/siglip2-base-patch16-224"
    assert tower_sources(read_original(checkpoint))[0] == {"tokenizer": siglip}
    path = save_checkpoint(tmp_path / "best.pth", "siglip2", without=CLIP)
    sources, lines = tower_sources(read_original(path))
    assert sources == {"clip_model": siglip}
    assert lines == [f"SigLIP, which the checkpoint leaves out, comes from {siglip}"]
