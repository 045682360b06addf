# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""From an image and expressions to masks, in this library and beside others; weights are random."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Sam3Config,
    Sam3Model,
    SamConfig,
    SamModel,
    SamVisionConfig,
    pipeline,
)
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from ssp_sam import SspSamConfig, SspSamModel, SspSamProcessor
from ssp_sam.modeling_ssp_sam.towers import build_sam
from ssp_sam.processing.segmentation_results import as_result

from .original import CHECKOUT, original_model
from .works import (
    ROOT,
    Work,
    about_one_image,
    compiled,
    default_model,
    default_pixels,
    half,
    many,
    without_gradients,
    words,
)

# Fields of SAM's image encoders beside the defaults of transformers.
ENCODERS: dict[str, dict] = {
    "ViT-B": {},
    "ViT-L": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "global_attn_indexes": [5, 11, 17, 23],
        "mlp_dim": 4096,
    },
    "ViT-H": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
        "mlp_dim": 5120,
    },
}


def _sam_config(size: str) -> SamConfig:
    config = SamConfig(vision_config=SamVisionConfig(**ENCODERS[size], initializer_range=0.02))
    config.vision_config._attn_implementation = "sdpa"
    return config


def image_encoder(device: str, size: str) -> Iterator[Work]:
    """One image through SAM's encoder: transformers' own layers, and the same weights in this library's."""
    config = _sam_config(size)
    with torch.device(device):
        stock, own = SamModel(config).eval().vision_encoder, build_sam(config).eval().vision_encoder
        pixels = torch.randn(1, 3, 1024, 1024)
    own.load_state_dict(stock.state_dict())
    encoders = {"transformers'": stock, "this library's": own}
    for whose, encoder in encoders.items():
        yield Work(f"{whose} SAM {size}, float32", without_gradients(encoder, pixels))
    for whose, encoder in encoders.items():
        mixed = torch.autocast(device, torch.bfloat16)(encoder.forward)
        yield Work(f"{whose} SAM {size}, bfloat16 by autocast", without_gradients(mixed, pixels))
    for whose, encoder in encoders.items():
        yield Work(f"{whose} SAM {size}, bfloat16", without_gradients(half(encoder), pixels.bfloat16()))


def expressions(device: str) -> Iterator[Work]:
    """Expressions on an image that is encoded already, at the default size; CLIPSeg encodes it for each of them."""
    with torch.device(device):
        clipseg = CLIPSegForImageSegmentation(CLIPSegConfig()).eval()
    for count in (1, 16):
        copies = {"pixel_values": torch.randn(count, 3, 352, 352, device=device), **words(count, device)}
        yield Work(f"CLIPSeg, float32, {many(count)}", without_gradients(clipseg, **copies))
    single = default_model(device)
    for dtype, model in (("float32", single), ("bfloat16", half(single))):
        with torch.no_grad():
            features = model.get_image_features(**default_pixels(model))
        for count in (1, 16, 64):
            inputs = {"image_features": features, **about_one_image(count, device)}
            yield Work(f"this library, {dtype}, {many(count)}", without_gradients(model, **inputs))


def graphs(device: str) -> Iterator[Work]:
    """In bfloat16 and compiled: expressions on an image that is encoded already, and SAM's encoder."""
    model = half(default_model(device))
    with torch.no_grad():
        features = model.get_image_features(**default_pixels(model))
    ways = {"eager": model, "compiled": compiled(model), "CUDA graph": compiled(model, "reduce-overhead")}
    for count in (1, 16):
        inputs = {"image_features": features, **about_one_image(count, device)}
        for way, run in ways.items():
            if device == "cuda" or way != "CUDA graph":
                yield Work(f"{way}, {many(count)}", without_gradients(run, **inputs))
    stock = half(SamModel(_sam_config("ViT-B"))).to(device).eval().vision_encoder
    pixels = default_pixels(model)["pixel_values"]
    for whose, encoder in {"transformers'": stock, "this library's": model.sam.vision_encoder}.items():
        yield Work(f"{whose} SAM ViT-B, eager", without_gradients(encoder, pixels))
        yield Work(f"{whose} SAM ViT-B, compiled", without_gradients(compiled(encoder), pixels))


def peers(device: str) -> Iterator[Work]:
    """From prepared tensors to masks: this library and peers at their default sizes."""
    model = default_model(device)
    with torch.device(device):
        clipseg = CLIPSegForImageSegmentation(CLIPSegConfig()).eval()
        sam, sam3 = SamModel(SamConfig()).eval(), Sam3Model(Sam3Config()).eval()
        # 640 x 480 on the canvas of each.
        for_clipseg, for_dino, for_sam, for_sam3 = (
            torch.randn(1, 3, height, width) for height, width in ((352, 352), (800, 1066), (1024, 1024), (1008, 1008))
        )

    dino = GroundingDinoForObjectDetection(GroundingDinoConfig()).eval().to(device)  # some of it is made on the CPU

    def dino_and_sam(count: int):
        """Finds a box for each phrase of one sentence, and masks for the boxes."""
        sentence = words(1, device, 4 * count + 2)["input_ids"]
        boxes = dino(pixel_values=for_dino, input_ids=sentence).pred_boxes[:, :count]
        return sam(pixel_values=for_sam, input_boxes=1024 * boxes, multimask_output=False)

    def sam3_one_by_one(count: int):
        """Encodes the image once, and reads it for one expression after another."""
        features = sam3.get_vision_features(pixel_values=for_sam3)
        return [sam3(vision_embeds=features, **words(1, device)) for _ in range(count)]

    def clipseg_in_one_batch(count: int):
        return clipseg(pixel_values=for_clipseg.expand(count, -1, -1, -1), **words(count, device))

    original, read_pairs = original_model(1, device) if CHECKOUT else (None, None)

    def original_pairs(count: int):
        """Encodes the image once for SAM, and CLIP's view of it for each expression."""
        features = original.sam.image_encoder(for_sam)
        return [read_pairs(image_embeddings=features) for _ in range(count)]

    for count in (1, 16):
        inputs = {**default_pixels(model), **about_one_image(count, device)}
        yield Work(f"this library, default size, {many(count)}", without_gradients(model, **inputs))
        yield Work(f"CLIPSeg, {many(count)}", without_gradients(clipseg_in_one_batch, count))
        yield Work(f"GroundingDINO-tiny and SAM ViT-B, {many(count)}", without_gradients(dino_and_sam, count))
        yield Work(f"SAM 3, {many(count)}", without_gradients(sam3_one_by_one, count))
        if CHECKOUT:
            yield Work(f"the original, with SAM ViT-H, {many(count)}", without_gradients(original_pairs, count))


def whole_answer(device: str) -> Iterator[Work]:
    """From prepared tensors to masks at the default size, in single and in half precision."""
    single = default_model(device)
    for dtype, model in (("float32", single), ("bfloat16", half(single))):
        for count in (1, 16):
            inputs = {**default_pixels(model), **about_one_image(count, device)}
            yield Work(f"{dtype}, {many(count)}", without_gradients(model, **inputs))


def embedded(device: str) -> Iterator[Work]:
    """The embedded checkpoint's pipeline, from a decoded image of 640 x 480 to masks of that size."""
    yield from _embedded(device, {"": {}}, (1, 16, 64))


def compiled_pipeline(device: str) -> Iterator[Work]:
    """The same, with and without `compile=True`."""
    yield from _embedded(device, {"": {}, ", compiled": {"compile": True}}, (1, 16, 64))


def many_expressions(device: str) -> Iterator[Work]:
    """A thousand expressions on one image, with the embedded checkpoint and in groups of several sizes."""
    for size in (64, 16):
        yield from _embedded(device, {f", {size} at a time": {"expression_batch_size": size}}, (1000,))


def stream(device: str) -> Iterator[Work]:
    """Images from a generator, whose memory must not grow: the embedded checkpoint with one layer of each kind."""
    segment = pipeline("referring-segmentation", device=device)
    for owner in (segment.model.sam.vision_encoder, segment.model.prompt_generator):
        owner.layers = owner.layers[-1:]
    image = Image.open(ROOT / "examples" / "scene.png").convert("RGB")

    def read(count: int):
        for _ in segment({"image": image, "text": ["the dog"]} for _ in range(count)):
            pass

    for count in (100, 1000, 10_000):
        yield Work(f"{count:,} images", lambda count=count: read(count))


def loading(folder: Path, device: str) -> Iterator[Work]:
    """A model of the default size from its file, in the precision of the file and in the other."""
    single = default_model("cpu")
    for stored, model in (("float32", single), ("bfloat16", half(single))):
        model.save_pretrained(folder / stored)
        size = (folder / stored / "model.safetensors").stat().st_size / 2**20
        for dtype in ("float32", "bfloat16"):
            load = partial(SspSamModel.from_pretrained, folder / stored, dtype=dtype, device_map=device)
            yield Work(f"{size:,.0f} MiB in {stored}, loaded as {dtype}", lambda load=load: load() and None)


def _embedded(device: str, ways: dict[str, dict], counts: tuple[int, ...]) -> Iterator[Work]:
    image = Image.open(ROOT / "examples" / "scene.png").convert("RGB").resize((640, 480))
    texts = [f"the {colour} {kind}" for colour in ("red", "blue", "green", "grey") for kind in ("car", "dog", "ball")]
    for way, options in ways.items():
        segment = pipeline("referring-segmentation", device=device, **options)
        for count in counts:
            own = (texts * (1 + count // len(texts)))[:count]
            name = f"embedded checkpoint{way}, {many(count)}"
            yield Work(name, lambda segment=segment, own=own: segment(image, own))


def photograph(device: str) -> Iterator[Work]:
    """What follows the model on a photograph of 4000 x 3000: logits of round things of 5 to 30 % of its width."""
    side = torch.arange(256, dtype=torch.float32, device=device)
    generator = torch.Generator().manual_seed(0)
    centres, radii = 20 + 140 * torch.rand(64, 2, generator=generator), 6 + 32 * torch.rand(64, generator=generator)
    distances = [((side - down)[:, None] ** 2 + (side - right) ** 2).sqrt() for down, right in centres.tolist()]
    logits = torch.stack([radius - distance for radius, distance in zip(radii.tolist(), distances)])[:, None] / 4
    outputs, sizes = {"pred_masks": logits}, {"original_sizes": [(3000, 4000)]}
    stock = SamImageProcessorPil()
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "ssp_sam" / "checkpoints" / "ssp-sam-scenes")
    read = SspSamProcessor.from_model_config(SspSamConfig(), tokenizer).post_process_referring_segmentation

    def transformers_masks():
        for part in logits.split(8):  # 64 at once would hold 3 GiB
            stock.post_process_masks([part], **sizes, reshaped_input_sizes=[(768, 1024)])

    def results():
        return [as_result(prediction, "a thing", []) for prediction in read(outputs, **sizes, windows=True)]

    yield Work("transformers' masks of SAM, 64 of them", transformers_masks)
    yield Work("64 results with score and box", results)
    yield Work("64 results, and the mask of each as an image", lambda: [result.mask.load() for result in results()])
    yield Work(
        "64 results, and COCO's run lengths of each", lambda: [result.window.run_lengths() for result in results()]
    )
