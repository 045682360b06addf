# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What the model promises its callers, for each combination of towers."""

import pytest
import torch
from transformers import AutoModel

from ssp_sam import SspSamModel
from ssp_sam.modeling_ssp_sam import mask_decoding
from tests.helpers.models import KINDS, run, tiny_inputs, tiny_model

OUTPUTS = ("pred_masks", "pred_boxes", "iou_scores", "no_target_logits")
MAPS = ("similarity_map", "word_attention", "verification_map")
WITH_BERT = ("default", "single tower")


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(kind) -> SspSamModel:
    """A random model; tests must not change it."""
    return tiny_model(kind)


@pytest.fixture
def inputs(kind) -> dict[str, torch.Tensor]:
    return tiny_inputs(kind)


def assert_same(output, expected, rows=slice(None), expected_rows=slice(None), names=OUTPUTS):
    for name in names:
        if expected.get(name) is None:
            assert output.get(name) is None
        else:
            torch.testing.assert_close(output[name][rows], expected[name][expected_rows], atol=1e-4, rtol=1e-4)


def distance(output, other) -> torch.Tensor:
    """How far the masks of each expression are apart."""
    return (output.pred_masks - other.pred_masks).abs().flatten(1).amax(1)


# ---- shapes and inputs ---------------------------------------------------------------------------------------------


def test_there_is_one_row_per_expression(model, inputs, kind):
    output = run(model, **inputs)
    assert output.pred_masks.shape == (3, 1, 32, 32)
    assert output.pred_boxes.shape == (3, 4)
    assert output.iou_scores.shape == (3, 1)
    assert ((output.pred_boxes > 0) & (output.pred_boxes < 1)).all()
    if kind == "paper":
        assert output.no_target_logits is None
    else:
        assert output.no_target_logits.shape == (3,)
    assert output.loss is None
    assert output.loss_dict is None


def test_every_word_matters(model, inputs):
    before = run(model, **inputs)
    for position in range(inputs["input_ids"].shape[1] - 1):
        ids = inputs["input_ids"].clone()
        ids[:, position] = (ids[:, position] - 5 + 7) % 25 + 5
        after = run(model, **{**inputs, "input_ids": ids})
        assert (distance(after, before) > 1e-3).all(), position
        assert ((after.pred_boxes - before.pred_boxes).abs().amax(1) > 1e-5).all(), position


def test_the_order_of_words_matters(model, inputs):
    ids = inputs["input_ids"].clone()
    ids[:, [1, 2]] = ids[:, [2, 1]]
    assert (distance(run(model, **{**inputs, "input_ids": ids}), run(model, **inputs)) > 1e-3).all()


@pytest.mark.parametrize("view", ["pixel_values", "semantic_pixel_values"])
def test_each_image_matters_to_its_own_expression_alone(model, inputs, view):
    if view not in inputs:
        pytest.skip("the single-tower model has no second view")
    before = run(model, **inputs)
    pixels = inputs[view].clone()
    pixels[1] += torch.randn_like(pixels[1])
    moved = distance(run(model, **{**inputs, view: pixels}), before)
    assert moved[1] > 1e-3
    assert moved[[0, 2]].max() < 1e-5


def test_a_batch_gives_what_single_inputs_give(model, inputs):
    batch = run(model, **inputs)
    for row in range(3):
        single = run(model, **{name: value[row : row + 1] for name, value in inputs.items()})
        assert_same(single, batch, expected_rows=slice(row, row + 1))


def test_two_passes_give_the_same(model, inputs):
    first, second = run(model, **inputs), run(model, **inputs)
    assert torch.equal(first.pred_masks, second.pred_masks)


# ---- padding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["right", "left", "both"])
@pytest.mark.parametrize("kind", WITH_BERT)
def test_padding_on_any_side_changes_nothing(kind, side):
    model, inputs = tiny_model(kind), tiny_inputs(kind)
    before = run(model, **inputs, output_attentions=True)
    left, right = {"right": (0, 4), "left": (4, 0), "both": (2, 3)}[side]
    padding = {"attention_mask": (left, right, 0), "input_ids": (left, right, 17)}  # whatever word stands there
    for name, (*amount, value) in padding.items():
        inputs[name] = torch.nn.functional.pad(inputs[name], amount, value=value)
    after = run(model, **inputs, output_attentions=True)
    assert_same(after, before)
    words = slice(left, left + 6)
    torch.testing.assert_close(after.word_attention[:, words], before.word_attention)
    assert (after.word_attention * (1 - inputs["attention_mask"])).max() == 0
    features = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    unpadded = model.get_text_features(inputs["input_ids"][:, words])
    torch.testing.assert_close(features.last_hidden_state[:, words], unpadded.last_hidden_state, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", WITH_BERT)
def test_expressions_of_different_lengths_share_a_batch(kind):
    model, inputs = tiny_model(kind), tiny_inputs(kind)
    for row, length in enumerate((2, 6, 4)):
        inputs["attention_mask"][row, length:] = 0
    batch = run(model, **inputs)
    for row, length in enumerate((2, 6, 4)):
        single = {name: value[row : row + 1] for name, value in inputs.items()}
        single["input_ids"] = single["input_ids"][:, :length]
        del single["attention_mask"]
        assert_same(run(model, **single), batch, expected_rows=slice(row, row + 1))


def test_siglip_reads_padding_but_counts_it_as_no_word():
    model, inputs = tiny_model("siglip"), tiny_inputs("siglip")
    inputs["input_ids"][:, 5:] = 0
    inputs["attention_mask"] = (inputs["input_ids"] != 0).long()
    output = run(model, **inputs, output_attentions=True)
    assert (output.word_attention[:, 5:] == 0).all() and (output.word_attention[:, :5] > 0).all()
    without_mask = run(model, **{**inputs, "attention_mask": None}, output_attentions=True)
    assert_same(without_mask, output, names=(*OUTPUTS, *MAPS))
    other = inputs["input_ids"].clone()
    other[:, 5:] = 3
    assert (distance(run(model, **{**inputs, "input_ids": other}), output) > 1e-3).all()


def test_siglip_refuses_expressions_that_are_not_padded_to_its_length():
    model, inputs = tiny_model("siglip"), tiny_inputs("siglip")
    inputs |= {name: inputs[name][:, :5] for name in ("input_ids", "attention_mask")}
    with pytest.raises(ValueError, match="expected input_ids padded to 8 positions, .* got 5"):
        run(model, **inputs)


def test_clip_reads_id_0_as_padding_whatever_the_mask_says():
    model, inputs = tiny_model("paper"), tiny_inputs("paper")
    inputs["input_ids"][:, 2] = 0
    output = run(model, **inputs, output_attentions=True)
    assert output.word_attention[:, 2].abs().max() == 0
    del inputs["attention_mask"]
    assert_same(run(model, **inputs), output)


# ---- several expressions per image ---------------------------------------------------------------------------------


def test_ragged_expressions_share_features_encoded_once(model, inputs, kind):
    pixels = {name: inputs[name] for name in ("pixel_values", "semantic_pixel_values") if name in inputs}
    words = tiny_inputs(kind, num_images=5, seed=1)["input_ids"]
    image_index = torch.tensor([2, 0, 2, 1, 2])
    with torch.no_grad():
        features = model.get_image_features(**pixels)
    together = run(model, input_ids=words, image_features=features, image_index=image_index)
    assert together.pred_masks.shape[0] == 5
    from_pixels = run(model, input_ids=words, image_index=image_index, **pixels)
    assert_same(from_pixels, together)
    for row, image in enumerate(image_index.tolist()):
        own = {name: value[image : image + 1] for name, value in pixels.items()}
        alone = run(model, input_ids=words[row : row + 1], **own)
        assert_same(alone, together, expected_rows=slice(row, row + 1))


def test_each_image_is_encoded_once_however_many_expressions_read_it(model, inputs, kind):
    calls = []
    towers = [tower for tower in (model.sam.vision_encoder.patch_embed, model.vision_model) if tower is not None]
    towers[1:] = [getattr(tower, "vision_model", tower).embeddings for tower in towers[1:]]
    hooks = [tower.register_forward_hook(lambda _, args, out: calls.append(len(out))) for tower in towers]
    inputs["input_ids"] = tiny_inputs(kind, num_images=7)["input_ids"]
    del inputs["attention_mask"]
    run(model, **inputs, image_index=torch.tensor([0, 0, 1, 1, 1, 2, 0]))
    for hook in hooks:
        hook.remove()
    assert calls == [3] * len(towers)


def test_precomputed_image_embeddings_stand_in_for_pixels(model, inputs):
    expected = run(model, **inputs)
    pixels = inputs.pop("pixel_values")
    with torch.no_grad():
        embeddings = model.sam.get_image_embeddings(pixels)
    assert_same(run(model, **inputs, image_embeddings=embeddings), expected)


def test_an_image_without_expressions_is_allowed(model, inputs):
    inputs = {name: value[:1] if name.startswith(("input", "attention")) else value for name, value in inputs.items()}
    assert run(model, **inputs, image_index=torch.tensor([2])).pred_masks.shape == (1, 1, 32, 32)


# ---- clicks and boxes beside words ---------------------------------------------------------------------------------

SPATIAL = {
    "click": {"input_points": torch.tensor([[[[4.0, 9.0]]], [[[20.0, 30.0]]], [[[16.0, 1.0]]]])},
    "box": {"input_boxes": torch.tensor([[[2.0, 3.0, 20.0, 30.0]], [[0.0, 0.0, 9.0, 9.0]], [[5.0, 6.0, 30.0, 31.0]]])},
    "mask": {"input_masks": torch.linspace(-4, 4, 3 * 32 * 32).reshape(3, 1, 32, 32)},
}
SPATIAL["click and box"] = {**SPATIAL["click"], **SPATIAL["box"], "input_labels": torch.tensor([[[0]], [[1]], [[-10]]])}


@pytest.mark.parametrize("prompt", SPATIAL.values(), ids=SPATIAL)
def test_a_spatial_prompt_changes_the_mask(model, inputs, prompt):
    assert (distance(run(model, **inputs, **prompt), run(model, **inputs)) > 1e-4).all()


def test_words_still_matter_beside_a_click(model, inputs):
    others = {**inputs, "input_ids": inputs["input_ids"].roll(1, 0)}
    first, second = run(model, **inputs, **SPATIAL["click"]), run(model, **others, **SPATIAL["click"])
    assert (distance(first, second) > 1e-3).all()


def test_inside_and_outside_clicks_differ(model, inputs):
    inside = run(model, **inputs, **SPATIAL["click"])
    labels = {label: torch.full((3, 1, 1), label) for label in (0, 1)}
    assert_same(run(model, **inputs, **SPATIAL["click"], input_labels=labels[1]), inside)
    assert (distance(run(model, **inputs, **SPATIAL["click"], input_labels=labels[0]), inside) > 1e-4).all()


def test_clicks_and_boxes_stand_before_the_language_prompts(model, inputs, monkeypatch):
    monkeypatch.setattr(mask_decoding, "can_read", lambda *_: False)  # transformers' decoder says what it is given
    seen = []
    hook = model.sam.mask_decoder.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["sparse_prompt_embeddings"]), with_kwargs=True
    )
    run(model, **inputs)
    run(model, **inputs, **SPATIAL["click and box"])
    hook.remove()
    words, mixed = seen
    with torch.no_grad():
        spatial, _ = model.sam.prompt_encoder(**SPATIAL["click and box"], input_masks=None)
    assert spatial.shape[2] == 3  # one click, two corners
    assert words.shape[2] == model.config.num_prompt_tokens
    torch.testing.assert_close(mixed, torch.cat([spatial, words], dim=2))


# ---- what comes back on request ------------------------------------------------------------------------------------


def test_maps_come_back_on_request(model, inputs):
    output = run(model, **inputs, output_attentions=True)
    assert output.similarity_map.shape == output.verification_map.shape == (3, 4, 4)
    assert output.word_attention.shape == inputs["input_ids"].shape
    torch.testing.assert_close(output.word_attention.sum(1), torch.ones(3))
    torch.testing.assert_close(output.similarity_map.flatten(1).amin(1), torch.zeros(3))
    torch.testing.assert_close(output.similarity_map.flatten(1).amax(1), torch.ones(3))
    assert (output.verification_map > 0).all()
    assert (output.verification_map <= model.verification.scale).all()
    assert all(name not in run(model, **inputs) for name in (*MAPS, "attentions", "hidden_states"))


def test_hidden_states_and_attentions_are_those_of_the_prompt_generator(kind, inputs):
    model = tiny_model(kind)
    model.set_attn_implementation("eager")
    output = run(model, **inputs, output_hidden_states=True, output_attentions=True)
    # After the last layer the reg token and the prompt tokens are read, and no patch.
    read, everything = 1 + 4, 1 + 4 + 16
    assert [tuple(state.shape) for state in output.hidden_states] == [(3, everything, 16)] * 2 + [(3, read, 16)]
    assert [tuple(weights.shape)[2:] for weights in output.attentions] == [(everything, everything), (read, everything)]
    torch.testing.assert_close(output.attentions[0].sum(-1), torch.ones(3, 2, 21))


def test_hidden_states_of_clips_image_tower_change_no_patch():
    model, inputs = tiny_model("paper"), tiny_inputs("paper")
    pixels = {name: inputs[name] for name in inputs if "pixel" in name}
    with torch.no_grad():
        plain, told = (model.get_image_features(**pixels, output_hidden_states=wanted) for wanted in (False, True))
    tokens = 1 + model.config.grid_size**2
    assert {tuple(states.shape)[:2] for states in told.hidden_states} == {(3, tokens)}
    assert len(told.hidden_states) == 1 + model.config.vision_config.num_hidden_layers
    torch.testing.assert_close(plain.patch_features, told.patch_features)


def test_eager_and_sdpa_attention_agree(kind, inputs):
    model = tiny_model(kind)
    results = []
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        results.append(run(model, **inputs))
    assert_same(*results)


def test_a_box_alone_needs_no_mask_decoder(model, inputs):
    output = run(model, **inputs, predict_masks=False)
    assert output.pred_masks is None
    assert output.iou_scores is None
    assert_same(output, run(model, **inputs), names=("pred_boxes", "no_target_logits"))


def test_heads_are_optional(inputs, kind):
    output = run(tiny_model(kind, use_box_head=False, use_no_target_head=False), **inputs)
    assert output.pred_boxes is None
    assert output.no_target_logits is None
    assert output.pred_masks is not None


def test_a_tuple_comes_back_on_request(model, inputs):
    output = run(model, **inputs)
    plain = run(model, **inputs, return_dict=False)
    assert torch.equal(plain[0], output.pred_masks)


# ---- save and load -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saving_and_loading_gives_the_same_output(kind, inputs, dtype, tmp_path):
    tiny_model(kind, seed=1).save_pretrained(tmp_path)  # which is not to be loaded in place of what follows
    model = tiny_model(kind).to(dtype)
    model.save_pretrained(tmp_path, max_shard_size="40KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is SspSamModel
    assert not loaded.training
    found, saved = loaded.state_dict(), model.state_dict()
    assert found.keys() == saved.keys()
    for name, value in found.items():
        assert value.dtype == dtype, name
        assert torch.equal(value, saved[name]), name
    expected, output = run(model, **inputs), run(loaded, **inputs)
    assert all(output[name].dtype == dtype and output[name].isfinite().all() for name in OUTPUTS if name in output)
    assert_same(output, expected)


def test_parts_missing_from_a_checkpoint_are_initialised_like_new_ones(kind, tmp_path):
    model = tiny_model(kind)
    kept = {name: value for name, value in model.state_dict().items() if name.startswith("sam.")}
    model.save_pretrained(tmp_path, state_dict=kept)
    loaded = SspSamModel.from_pretrained(tmp_path)
    for name, value in loaded.state_dict().items():
        if name in kept:
            assert torch.equal(value, kept[name]), name
        assert value.isfinite().all(), name
        assert value.abs().max() < 1e3, name
    assert loaded.verification.sigma.item() == 0.5
    assert loaded.verification.scale.item() == 1
    assert loaded.linguistic_adapter.forward_gru.weight_hh_l0.std() > 0.1


def test_attention_can_be_switched_after_loading_also_in_sams_encoder():
    model, inputs = tiny_model("single tower"), tiny_inputs("single tower")
    fused = run(model, **inputs)
    model.set_attn_implementation("eager")
    features = model.get_image_features(inputs["pixel_values"], output_attentions=True)
    assert [tuple(weights.shape[-2:]) for weights in features.attentions] == [(16, 16), (64, 64)]
    assert_same(run(model, **inputs), fused)
    model.set_attn_implementation("sdpa")
    assert_same(run(model, **inputs), fused)
