# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Training: the paper's model after SAM's image encoder, how long runs wait for data, and evaluation."""

import collections
import json
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.flop_counter import FlopCounterMode
from transformers.models.sam.modeling_sam import SamVisionLayer

from scripts.make_custom_dataset import write_dataset
from ssp_sam import EMBEDDED_CHECKPOINT, SspSamModel, SspSamProcessor, pipeline
from ssp_sam.training.evaluation.job import Evaluation, EvaluationOptions

from .original import CHECKOUT, original_model
from .works import COMMAND, Work, default_model, program, without_gradients

PAIRS, STEPS, SCENES = 8, 4, 256
TRAIN = "import sys; from ssp_sam.training.train import run; sys.exit(run())"
# Runs by what they see; options stand after those of the configuration file, if any.
RUNS = {
    "scenes": "--config embedded --init_from embedded --scene_cache scenes --num_train_scenes 64 --num_eval_scenes 8 "
    "--images_per_device 8 --mixed_precision no",
    "custom": "--config own_data --train_dir data --eval_dir data --scene_cache scenes --num_train_scenes 16 "
    f"--num_eval_scenes 8 --num_epochs 0.01 --eval_at_start false --min_steps {2 * STEPS}",
    "cached": "--init_from model --train_dir data --eval_dir data --feature_cache features --images_per_device 8",
}


def paper(device: str) -> Iterator[Work]:
    """
    The paper's B/16 model on pairs of an image and an expression; SAM's embeddings are given, as from a cache.

    The original's code comes first where a checkout of it is named, and matrix products with as much arithmetic last:
    what is least on the machine.
    """
    # SAM's image encoder, which does not run, is left small.
    sam = {"vision_config": {"num_hidden_layers": 1, "global_attn_indexes": [0]}}
    model = default_model(device, preset="paper_b16", sam_config=sam)
    inputs = {
        "image_embeddings": torch.randn(PAIRS, 256, 64, 64, device=device),
        "semantic_pixel_values": torch.randn(PAIRS, 3, 224, 224, device=device),
        "input_ids": torch.randint(1, 40_000, (PAIRS, 77), device=device),
    }
    side = model.config.mask_size
    labels = {
        "mask_labels": (torch.rand(PAIRS, side, side, device=device) > 0.5).float(),
        "box_labels": 0.3 + 0.4 * torch.rand(PAIRS, 4, device=device),
    }
    models = {"": (model, lambda **labels: model(**inputs, **labels))}
    if CHECKOUT:
        models = {"the original, ": original_model(PAIRS, device, depth=1, global_attn_indexes=[0]), **models}
    for dtype, half in (("float32", False), ("bfloat16 by autocast", True)):
        for whose, (trained, run) in models.items():
            mixed = torch.autocast(device, torch.bfloat16, enabled=half)(run)
            step = training_step(trained, mixed, labels)
            yield Work(f"{whose}forward, {PAIRS} pairs, {dtype}", without_gradients(mixed))
            yield Work(f"{whose}training step, {PAIRS} pairs, {dtype}", step)
        square = torch.randn(2048, 2048, device=device, dtype=torch.bfloat16 if half else torch.float32)
        for what, work in (("forward", without_gradients(mixed)), ("training step", step)):
            with FlopCounterMode(display=False) as counter:
                work()
            number = counter.get_total_flops() // (2 * 2048**3)
            product = partial(torch.matmul, square, square)
            yield Work(f"as many operations as in that {what}, in large matrix products", repeated(product, number))


def fine_tuning(device: str) -> Iterator[Work]:
    """The embedded checkpoint learning whole, its image encoder by transformers' layers and by this library's."""
    images, expressions, side = 6, 26, 192
    inputs = {
        "pixel_values": torch.randn(images, 3, side, side, device=device),
        "image_index": (torch.arange(expressions) % images).sort().values,
        "input_ids": torch.randint(5, 200, (expressions, 6), device=device),
    }
    labels = {
        "mask_labels": (torch.rand(expressions, side, side, device=device) > 0.5).float(),
        "box_labels": 0.3 + 0.4 * torch.rand(expressions, 4, device=device),
    }
    for whose in ("transformers' layers", "this library's layers"):
        model = SspSamModel.from_pretrained(EMBEDDED_CHECKPOINT, dtype=torch.float32).to(device).requires_grad_(True)
        if whose == "transformers' layers":
            for layer in model.sam.vision_encoder.layers:
                layer.__class__ = SamVisionLayer
        for dtype, half in (("float32", False), ("bfloat16 by autocast", True)):
            mixed = torch.autocast(device, torch.bfloat16, enabled=half)(partial(model, **inputs))
            yield Work(f"{whose}, {dtype}", training_step(model, mixed, labels))


def training_step(model: torch.nn.Module, run: Callable, labels: dict) -> Callable[[], None]:
    """Returns what takes a step of an optimizer by the loss that a model returns for these labels."""
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-6)

    def step():
        model.train()
        run(**labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        model.eval()

    return step


def repeated(run: Callable, number: int) -> Callable[[], None]:
    """Returns what runs something so many times."""
    return lambda: collections.deque((run() for _ in range(number)), maxlen=0)


def waiting(folder: Path, device: str, kind: str) -> Iterator[Work]:
    """Some steps of a training, and how long it waits for their data: read by the process itself, or by two others."""
    if kind != "scenes":
        write_dataset("textures", folder / "data", 12)
    if kind == "cached":
        sam = {"vision_config": {"num_hidden_layers": 1, "global_attn_indexes": [0], "initializer_range": 0.02}}
        model = default_model("cpu", preset="paper_b16", sam_config=sam)
        model.save_pretrained(folder / "model")
        tokenizer = SspSamProcessor.from_pretrained(EMBEDDED_CHECKPOINT).tokenizer
        SspSamProcessor.from_model_config(model.config, tokenizer).save_pretrained(folder / "model")
        program(folder, COMMAND, *"cache --model model --images data/images --output features".split())()
    told = {}
    for workers in (0, 2):
        length = f"--max_steps {2 * STEPS} --log_steps {STEPS} --warmup_steps 1 --max_eval_references 4"
        words = f"{RUNS[kind]} {length} --dataloader_workers {workers}".split()
        train = program(folder, TRAIN, *words, "--output_dir", "run")

        def steps(train=train):
            shutil.rmtree(folder / "run", ignore_errors=True)
            train()
            lines = map(json.loads, (folder / "run" / "log.jsonl").read_text("utf-8").splitlines())
            first, last = [line for line in lines if line["event"] == "train"]
            seconds = (last["samples"] - first["samples"]) / last["rate"]
            told["waited"] = seconds * last["waiting"]
            return seconds

        yield Work(f"{kind}, {STEPS} steps, {workers} workers", steps, tells_time=True)
        yield Work("of them waiting for data", lambda: told["waited"], tells_time=True)


def evaluation(folder: Path, device: str) -> Iterator[Work]:
    """The embedded checkpoint on scenes that another process makes: its processor seconds, and those of the model."""
    segmenter = pipeline(device=device)
    output = {"output": str(folder / "evaluation"), "overwrite": True}
    options = EvaluationOptions(scenes="test", num_scenes=SCENES, expressions_per_scene=6, workers=1, **output)
    accelerator = Accelerator(cpu=device == "cpu")
    forward, told = segmenter.forward, {}

    def timed_forward(*arguments, **options):
        start = time.process_time()
        outputs = forward(*arguments, **options)
        told["model"] += time.process_time() - start
        return outputs

    segmenter.forward = timed_forward

    def evaluate():
        told["model"], start = 0.0, time.process_time()
        Evaluation(options, accelerator, segmenter, str(EMBEDDED_CHECKPOINT)).run()
        return time.process_time() - start

    yield Work(f"{SCENES} scenes, 6 expressions each, 1 worker", evaluate, tells_time=True)
    yield Work("of them in the model", lambda: told["model"], tells_time=True)
