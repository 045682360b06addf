# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Files of the original's training, at golden size: its checkpoints, OpenAI's CLIP, Meta's SAM, CLIP's tokenizer."""

import argparse
from pathlib import Path

import torch
from torch import nn
from transformers import CLIPTokenizer, Siglip2Tokenizer

from tests.helpers.golden_reference import GOLDEN, original_weights
from tests.helpers.golden_weights import made_once, make_weights

IMAGE_ENCODER = ("sam.image_encoder.",)
CLIP = ("encoder.",)


def save_checkpoint(path: Path, name: str = "paper_b16", *, without=(), after_first_forward=False, **changes) -> Path:
    """Saves what the original's training saves, less the names that begin with `without`."""
    weights = original_weights(name, after_first_forward)
    weights = {key: value for key, value in weights.items() if not key.startswith(tuple(without))}
    arguments = argparse.Namespace(clip_pretrained="CS-ViT-B-16.pt", train_transforms=[{"type": "ToTensor"}])
    torch.save({"model": {**weights, **changes}, "epoch": 79, "args": arguments}, path)
    return path


@made_once
def clip_weights() -> dict[str, torch.Tensor]:
    """CLIP in OpenAI's layout and half precision."""
    weights = make_weights(GOLDEN["clip_weights"], GOLDEN["num_vision_layers"])
    return {name: tensor.half() for name, tensor in weights.items()}


def sam_weights() -> dict[str, torch.Tensor]:
    """SAM in Meta's layout."""
    return {name.removeprefix("sam."): tensor for name, tensor in original_weights().items() if name.startswith("sam.")}


class _Node(nn.Module):
    def forward(self, x):
        return x


def save_torchscript(path: Path, weights: dict[str, torch.Tensor]) -> Path:
    """Saves tensors as the parameters of a TorchScript archive, the form of OpenAI's CLIP files."""
    root = _Node()
    for name, tensor in weights.items():
        *parents, leaf = name.split(".")
        node = root
        for parent in parents:
            if not hasattr(node, parent):
                node.add_module(parent, _Node())
            node = getattr(node, parent)
        node.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
    torch.jit.script(root).save(str(path))
    return path


def save_tokenizer(folder: Path, vocab_size: int = 200) -> Path:
    """Saves a letter-by-letter CLIP tokenizer whose end of text has the largest id."""
    letters = "!" + "abcdefghijklmnopqrstuvwxyz0123456789.,'-"
    pieces = [*letters, *(f"{letter}</w>" for letter in letters)]
    pieces += [f"unused{index}" for index in range(vocab_size - 2 - len(pieces))]
    vocab = {piece: index for index, piece in enumerate([*pieces, "<|startoftext|>", "<|endoftext|>"])}
    CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77).save_pretrained(folder)
    return folder


def save_siglip_tokenizer(folder: Path, pad_token: str = "<pad>") -> Path:
    """Saves a letter-by-letter tokenizer of SigLIP 2, which pads on the left unless it is told otherwise."""
    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "\u2581"]
    vocab = {piece: index for index, piece in enumerate([*specials, *"abcdefghijklmnopqrstuvwxyz0123456789.,'-"])}
    Siglip2Tokenizer(vocab=vocab, merges=[], pad_token=pad_token).save_pretrained(folder)
    return folder
