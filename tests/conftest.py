"""Tiny random models and pictures that every test can use, offline and in seconds."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # as in training/train.py: the same numbers wherever operands lie

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from transformers import BertConfig, BertTokenizer, CLIPVisionConfig, SamConfig

from ssp_sam import ReferringSegmentationPipeline, SspSamConfig, SspSamModel, SspSamProcessor

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = (
    "a all and apple apples ball bird blue box car cat circle dog everything green house in left object of on red "
    "right square star the thing tree two unicorn yellow ,"
).split()


def make_tokenizer() -> BertTokenizer:
    """A word tokenizer of some forty words."""
    vocab = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *WORDS])}
    return BertTokenizer(vocab=vocab, model_max_length=32)


def make_config(single_tower: bool = True, **kwargs) -> SspSamConfig:
    """A configuration of some hundred thousand parameters: 32-pixel canvas, 16-wide layers, wide initial weights."""
    wide = {"initializer_range": 0.3}
    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 4}
    sam = SamConfig(
        vision_config={
            **vision,
            **wide,
            "mlp_dim": 32,
            "output_channels": 16,
            "num_pos_feats": 8,
            "global_attn_indexes": [1],
            "window_size": 4,
        },
        prompt_encoder_config={
            "hidden_size": 16,
            "image_size": 32,
            "patch_size": 4,
            "image_embedding_size": 8,
            "mask_input_channels": 4,
        },
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 16,
        },
        **wide,
    )
    text = BertConfig(
        vocab_size=len(SPECIAL_TOKENS) + len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        **wide,
    )
    clip = CLIPVisionConfig(**{**vision, "patch_size": 8}, intermediate_size=32, projection_dim=16, **wide)
    sizes = {
        "adapter_dim": 16,
        "num_surgery_layers": 1,
        "verification_attention_heads": 2,
        "num_prompt_tokens": 4,
        "num_fusion_layers": 2,
        "fusion_attention_heads": 2,
        "fusion_intermediate_size": 32,
        "initializer_range": 0.3,
    }
    if single_tower:
        sizes.update(projection_dim=16, grid_size=4)
    return SspSamConfig(
        sam_config=sam, vision_config=None if single_tower else clip, text_config=text, **{**sizes, **kwargs}
    )


def make_pipeline(single_tower: bool = True, seed: int = 0, **kwargs) -> ReferringSegmentationPipeline:
    """A pipeline with random weights, which finds something for every expression."""
    torch.manual_seed(seed)
    config = make_config(single_tower, **kwargs)
    processor = SspSamProcessor.from_model_config(config, make_tokenizer())
    processor.no_target_threshold = 1.0
    return ReferringSegmentationPipeline(
        model=SspSamModel(config), processor=processor, task="referring-segmentation", device="cpu"
    )


def make_image(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    """A picture of random pixels under a few plain rectangles."""
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    for _ in range(4):
        x, y = generator.integers(0, width), generator.integers(0, height)
        pixels[y : y + height // 2, x : x + width // 2] = generator.integers(0, 256, 3)
    return Image.fromarray(pixels)


@pytest.fixture(scope="session", params=["single tower", "two towers"])
def segmenter(request) -> ReferringSegmentationPipeline:
    """A tiny random pipeline of each kind; tests must not change it."""
    return make_pipeline(single_tower=request.param == "single tower")


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory) -> str:
    """A folder with a tiny random single-tower model and its processor; tests must not change it."""
    folder = tmp_path_factory.mktemp("tiny-checkpoint")
    make_pipeline().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session", autouse=True)
def own_datasets_cache(tmp_path_factory):
    """Keeps what `datasets` writes, here and in processes that tests start, out of the user's cache."""
    folder = str(tmp_path_factory.mktemp("datasets"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", folder)
        patch.setattr("datasets.config.HF_DATASETS_CACHE", folder)
        yield


@pytest.fixture(autouse=True)
def keep_process_state():
    """Undoes what a training says to the whole process: its number format and its threads."""
    threads = torch.get_num_threads()
    yield
    AcceleratorState._reset_state(reset_partial_state=True)
    torch.set_num_threads(threads)


@pytest.fixture
def image() -> Image.Image:
    return make_image()
