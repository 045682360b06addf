# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What trains and what stays: gradients, frozen towers, and modes."""

import copy

import pytest
import torch

from ssp_sam import SspSamModel
from tests.helpers.gradients import lowered_by_a_step
from tests.helpers.models import KINDS, tiny_inputs, tiny_labels, tiny_model

FROZEN = {
    "default": ["sam.vision_encoder", "sam.prompt_encoder", "sam.mask_decoder.iou_prediction_head", "vision_model"],
    "single tower": ["sam.vision_encoder", "sam.prompt_encoder", "sam.mask_decoder.iou_prediction_head"],
}
FROZEN["paper"] = FROZEN["siglip"] = [*FROZEN["default"], "text_model"]


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


def train_step(model: SspSamModel, kind: str, **kwargs) -> torch.Tensor:
    """One optimizer step in training mode; returns the loss before it."""
    model.train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    loss = model(**tiny_inputs(kind), **tiny_labels(), **kwargs).loss
    loss.backward()
    optimizer.step()
    return loss.detach()


def assert_frozen(model: SspSamModel, names: list[str]):
    for name in names:
        module = model.get_submodule(name)
        assert not any(part.training for part in module.modules()), name
        assert not any(parameter.requires_grad for parameter in module.parameters()), name


def test_frozen_towers_stay_bit_equal_and_everything_else_moves(kind):
    model = tiny_model(kind)
    before = copy.deepcopy(model.state_dict())
    loss = train_step(model, kind)
    assert loss.isfinite()
    frozen = tuple(f"{name}." for name in FROZEN[kind])
    still = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    for name in before:
        if name.startswith(frozen):
            assert name in still, name
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    moving = {name for name in trained if model.get_parameter(name).grad.abs().max() > 1e-6}
    assert not moving & still
    # A bias added to every score of a softmax changes nothing, and SAM's other three masks are not asked for.
    unused = ("output_hypernetworks_mlps", "k_proj.bias", "key.bias")
    idle = {name for name in trained - moving if not any(part in name for part in unused)}
    assert idle <= {"linguistic_adapter.word_score.bias", "text_model.embeddings.position_embeddings.weight"}


def test_frozen_towers_are_in_eval_mode_whatever_the_mode(kind, tmp_path):
    model = tiny_model(kind)
    assert sorted(model.config.frozen_modules) == sorted(FROZEN[kind])
    model.train()
    assert model.training
    assert model.prompt_generator.training
    assert model.sam.mask_decoder.training
    assert_frozen(model, FROZEN[kind])
    model.save_pretrained(tmp_path)
    loaded = SspSamModel.from_pretrained(tmp_path)
    assert_frozen(loaded, FROZEN[kind])
    assert_frozen(loaded.train(), FROZEN[kind])
    assert loaded.prompt_generator.training


def test_what_is_frozen_can_be_chosen():
    model = tiny_model("single tower", frozen_modules=["text_model", "sam"]).train()
    assert_frozen(model, ["text_model", "sam"])
    model = tiny_model("single tower", frozen_modules=[]).train()
    assert all(module.training for module in model.modules())
    assert model.sam.vision_encoder.patch_embed.projection.weight.requires_grad


def test_freezing_what_is_not_there_is_an_error():
    message = "frozen_modules names 'vision_model', which this model does not have; its top modules are .*'sam'"
    with pytest.raises(ValueError, match=message):
        tiny_model("single tower", frozen_modules=["vision_model"])
    with pytest.raises(ValueError, match="frozen_modules names 'sma'"):
        tiny_model("default", frozen_modules=["sma"])


def test_gradients_reach_the_prompts_through_the_mask_alone(kind):
    model = tiny_model(kind).train()
    labels = tiny_labels()
    loss = model(**tiny_inputs(kind), mask_labels=labels["mask_labels"]).loss
    loss.backward()
    for name in ("prompt_generator.prompt_tokens.weight", "word_projection.weight", "visual_adapter.layers.0.weight"):
        assert model.get_parameter(name).grad.abs().max() > 0, name
    if "text_model" not in FROZEN[kind]:
        assert model.text_model.get_input_embeddings().weight.grad.abs().max() > 0
    if kind == "siglip":
        for name in ("patch_projection.weight", "sentence_projection.projection.weight"):
            assert model.get_parameter(name).grad.abs().max() > 0, name
    assert model.verification.sigma.grad.abs().item() > 0


def test_clicks_keep_gradients_through_the_prompts():
    model = tiny_model("default").train()
    points = torch.full((3, 1, 1, 2), 8.0)
    model(**tiny_inputs("default"), input_points=points, mask_labels=tiny_labels()["mask_labels"]).loss.backward()
    assert model.prompt_generator.prompt_tokens.weight.grad.abs().max() > 0


def test_a_small_step_against_the_gradient_lowers_the_loss(kind):
    model = tiny_model(kind).train()
    assert lowered_by_a_step(model, lambda: model(**tiny_inputs(kind), **tiny_labels()).loss) > 0.1  # was 0.52 to 0.85


def test_the_loss_is_the_weighted_sum_of_its_parts(kind):
    model = tiny_model(kind)
    output = model(**tiny_inputs(kind), **tiny_labels())
    weights = {name: getattr(model.config, f"{name}_loss_weight") for name in output.loss_dict}
    names = ["dice", "focal", "l1", "giou"] + ([] if kind == "paper" else ["no_target"])
    assert list(weights) == names
    torch.testing.assert_close(output.loss, sum(weights[name] * output.loss_dict[name] for name in names))


def test_box_only_training_needs_no_mask_decoder(kind):
    model = tiny_model(kind).train()
    output = model(**tiny_inputs(kind), **tiny_labels(), predict_masks=False)
    assert "dice" not in output.loss_dict
    output.loss.backward()
    assert model.box_head.layers[0].weight.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.sam.parameters())


def test_gradient_checkpointing_gives_the_same_gradients(kind):
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model(kind).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        torch.manual_seed(0)  # the same dropout in both
        model(**tiny_inputs(kind), **tiny_labels()).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_the_word_embeddings_can_be_resized(kind):
    model = tiny_model(kind)
    size = model.config.text_config.vocab_size
    model.resize_token_embeddings(size + 7)
    assert model.get_input_embeddings().weight.shape[0] == model.config.text_config.vocab_size == size + 7
    inputs = tiny_inputs(kind)
    inputs["input_ids"][:, 1] = size + 6
    with torch.no_grad():
        assert model(**inputs).pred_masks.isfinite().all()
