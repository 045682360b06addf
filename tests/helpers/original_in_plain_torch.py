# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The original model written a second time: from its equations, in plain torch, on weights of the original's names.

It shares no code with the library and with transformers, so that agreement at sizes for which no value of the original
was written down says something. `test_full_size.py` checks it against the original's own values at small size first.

Shapes: B images with one expression each, N patches, L = 77 words, T tokens.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass
class Sizes:
    """What the shapes of the weights do not tell."""

    clip_head: int = 64  # channels per head of both towers of CLIP
    surgery_layers: int = 6
    adapter_heads: int = 8
    fusion_heads: int = 8
    decoder_heads: int = 8
    sam_heads: int = 16
    sam_window: int = 14
    sam_global: tuple[int, ...] = (7, 15, 23, 31)


class Original:
    """The whole model as functions of a dict of weights."""

    def __init__(self, weights: dict[str, torch.Tensor], sizes: Sizes):
        self.w, self.sizes = weights, sizes

    # ---- pieces ---------------------------------------------------------------------------------------------------

    def linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def norm(self, name: str, x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], eps)

    def channel_norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Layer norm over the channels of (B, channels, height, width)."""
        return self.norm(name, x.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)

    def mlp(self, name: str, x: torch.Tensor, layers: int = 3) -> torch.Tensor:
        for index in range(layers):
            x = self.linear(f"{name}.layers.{index}", x)
            x = x.relu() if index < layers - 1 else x
        return x

    def count(self, prefix: str) -> int:
        return len({name[len(prefix) :].split(".")[0] for name in self.w if name.startswith(prefix)})

    def packed_attention(self, name: str, q, k, v, heads: int, mask=None) -> torch.Tensor:
        """`nn.MultiheadAttention` with its three projections in one tensor; `mask` is added to the scores."""
        parts = zip(
            (q, k, v),
            self.w[f"{name}.in_proj_weight"].chunk(3),
            self.w[f"{name}.in_proj_bias"].chunk(3),
        )
        return self.linear(f"{name}.out_proj", attend(*(F.linear(x, w, b) for x, w, b in parts), heads, mask))

    # ---- CLIP -----------------------------------------------------------------------------------------------------

    def clip_block(self, name: str, x: torch.Tensor, mask=None) -> torch.Tensor:
        heads = x.shape[-1] // self.sizes.clip_head
        normed = self.norm(f"{name}.ln_1", x)
        x = x + self.packed_attention(f"{name}.attn", normed, normed, normed, heads, mask)
        hidden = self.linear(f"{name}.mlp.c_fc", self.norm(f"{name}.ln_2", x))
        return x + self.linear(f"{name}.mlp.c_proj", hidden * torch.sigmoid(1.702 * hidden))

    def clip_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Projected tokens (B, 1 + N, C), the class token first, from (B, 3, s, s)."""
        tower = "encoder.visual"
        kernel = self.w[f"{tower}.conv1.weight"]
        patches = F.conv2d(pixels, kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
        first = self.w[f"{tower}.class_embedding"].expand(len(pixels), 1, -1)
        x = torch.cat([first, patches], dim=1) + self.w[f"{tower}.positional_embedding"]
        x = self.norm(f"{tower}.ln_pre", x)
        depth, second = self.count(f"{tower}.transformer.resblocks."), None
        for index in range(depth):
            block = f"{tower}.transformer.resblocks.{index}"
            if index >= depth - self.sizes.surgery_layers:
                second = (x if second is None else second) + self.value_attention(f"{block}.attn", block, x)
            x = self.clip_block(block, x)
        tokens = x if second is None else torch.cat([x[:, :1], second[:, 1:]], dim=1)
        return self.norm(f"{tower}.ln_post", tokens) @ self.w[f"{tower}.proj"]

    def value_attention(self, attention: str, block: str, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(f"{block}.ln_1", x)
        weight, bias = (
            self.w[f"{attention}.in_proj_weight"].chunk(3)[2],
            self.w[f"{attention}.in_proj_bias"].chunk(3)[2],
        )
        v = F.linear(x, weight, bias)
        return self.linear(f"{attention}.out_proj", attend(v, v, v, v.shape[-1] // self.sizes.clip_head))

    def clip_text(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Word states (B, L, width) and sentence vectors (B, C) of unit length."""
        x = self.w["encoder.token_embedding.weight"][ids] + self.w["encoder.positional_embedding"]
        causal = torch.full((ids.shape[1], ids.shape[1]), -math.inf).triu(1)
        for index in range(self.count("encoder.transformer.resblocks.")):
            x = self.clip_block(f"encoder.transformer.resblocks.{index}", x, causal)
        x = self.norm("encoder.ln_final", x)
        sentence = x[torch.arange(len(ids)), ids.argmax(1)] @ self.w["encoder.text_projection"]
        return x, sentence / sentence.norm(dim=-1, keepdim=True)

    # ---- prompts --------------------------------------------------------------------------------------------------

    def fused_patches(self, pixels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Fused patches (B, N, d) of images on the semantic canvas and expressions."""
        raw = self.clip_image(pixels)
        patches = (raw / raw.norm(dim=1, keepdim=True))[:, 1:]
        words, sentence = self.clip_text(ids)
        words, padding = self.linear("clip_proj", words), ids == 0
        similarity = (patches * sentence[:, None]).sum(-1)
        low, high = similarity.min(1, keepdim=True).values, similarity.max(1, keepdim=True).values
        queries = self.mlp("clip_img_proj", patches * ((similarity - low) / (high - low))[..., None])

        scores = self.linear("phrase_attn.fc", self.gru(words)).squeeze(-1).softmax(1).masked_fill(padding, 0)
        summary = ((scores / scores.sum(1, keepdim=True))[..., None] * words).sum(1)

        hidden = torch.zeros(padding.shape).masked_fill(padding, -math.inf)[:, None, None]
        gathered = self.packed_attention("img2text_attn", queries, words, words, self.sizes.adapter_heads, hidden)
        cosine = F.cosine_similarity(self.mlp("img_proj", queries, 1), self.mlp("imgtext_proj", gathered, 1), dim=-1)
        verified = self.w["tf_scale"] * torch.exp(-((1 - cosine) ** 2) / (2 * self.w["tf_sigma"] ** 2))
        patches = (self.norm("norm_img", queries) * verified[..., None]).tanh()
        return self.linear("mlp", patches * summary.tanh()[:, None])

    def gru(self, words: torch.Tensor) -> torch.Tensor:
        gru = torch.nn.GRU(words.shape[-1], words.shape[-1], batch_first=True, bidirectional=True)
        gru.load_state_dict(
            {name.removeprefix("text_proj."): w for name, w in self.w.items() if name.startswith("text_proj.")}
        )
        return gru(words)[0]

    def prompts(self, fused: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Boxes (B, 4) and prompts (B, P, d)."""
        learned = torch.cat([self.w["reg_token.weight"], self.w["prompt_token.weight"]])
        x = torch.cat([learned.expand(len(fused), -1, -1), fused], dim=1)
        for index in range(self.count("vl_transformer.encoder.layers.")):
            layer, placed = f"vl_transformer.encoder.layers.{index}", x + self.w["vl_pos_embed.weight"]
            attended = self.packed_attention(f"{layer}.self_attn", placed, placed, x, self.sizes.fusion_heads)
            x = self.norm(f"{layer}.norm1", x + attended)
            hidden = self.linear(f"{layer}.linear2", self.linear(f"{layer}.linear1", x).relu())
            x = self.norm(f"{layer}.norm2", x + hidden)
        x = self.norm("norm", x)
        return self.mlp("bbox_embed", x[:, 0]).sigmoid(), x[:, 1 : len(learned)]

    # ---- SAM ------------------------------------------------------------------------------------------------------

    def sam_image(self, pixels: torch.Tensor) -> torch.Tensor:
        """Image embeddings (B, d, grid, grid) of images on SAM's canvas."""
        tower = "sam.image_encoder"
        kernel = self.w[f"{tower}.patch_embed.proj.weight"]
        x = F.conv2d(pixels, kernel, self.w[f"{tower}.patch_embed.proj.bias"], stride=kernel.shape[-1])
        x = x.permute(0, 2, 3, 1) + self.w[f"{tower}.pos_embed"]
        for index in range(self.count(f"{tower}.blocks.")):
            block = f"{tower}.blocks.{index}"
            normed = self.norm(f"{block}.norm1", x, 1e-6)
            x = x + (
                self.sam_attention(f"{block}.attn", normed)
                if index in self.sizes.sam_global
                else self.windowed(f"{block}.attn", normed)
            )
            hidden = F.gelu(self.linear(f"{block}.mlp.lin1", self.norm(f"{block}.norm2", x, 1e-6)))
            x = x + self.linear(f"{block}.mlp.lin2", hidden)
        x = F.conv2d(x.permute(0, 3, 1, 2), self.w[f"{tower}.neck.0.weight"])
        x = F.conv2d(self.channel_norm(f"{tower}.neck.1", x), self.w[f"{tower}.neck.2.weight"], padding=1)
        return self.channel_norm(f"{tower}.neck.3", x)

    def windowed(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Attention inside each window; the last windows are filled up with zeros, which take part."""
        side, (height, width) = self.sizes.sam_window, x.shape[1:3]
        result = torch.zeros_like(x)
        for top in range(0, height, side):
            for left in range(0, width, side):
                part = x[:, top : top + side, left : left + side]
                rows, columns = part.shape[1:3]
                full = F.pad(part, (0, 0, 0, side - columns, 0, side - rows))
                attended = self.sam_attention(name, full)
                result[:, top : top + rows, left : left + columns] = attended[:, :rows, :columns]
        return result

    def sam_attention(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Attention over a grid, with a learned score for every distance down and across; one head at a time."""
        batch, height, width, channels = x.shape
        q, k, v = (part.flatten(1, 2) for part in self.linear(f"{name}.qkv", x).chunk(3, dim=-1))  # (B, T, channels)
        size = channels // self.sizes.sam_heads
        down = self.w[f"{name}.rel_pos_h"][distances(height)]  # (height, height, size)
        across = self.w[f"{name}.rel_pos_w"][distances(width)]
        heads = []
        for start in range(0, channels, size):
            own_q, own_k, own_v = (part[..., start : start + size] for part in (q, k, v))
            on_grid = own_q.reshape(batch, height, width, size)
            scores = (own_q @ own_k.transpose(1, 2)).reshape(batch, height, width, height, width) / math.sqrt(size)
            scores += torch.einsum("bhwc,hkc->bhwk", on_grid, down)[..., :, None]
            scores += torch.einsum("bhwc,wkc->bhwk", on_grid, across)[..., None, :]
            heads.append(scores.reshape(batch, height * width, -1).softmax(-1) @ own_v)
        return self.linear(f"{name}.proj", torch.cat(heads, dim=-1)).reshape(batch, height, width, channels)

    def canvas_positions(self, grid: int) -> torch.Tensor:
        """Positions of the image's tokens (grid * grid, d)."""
        centres = 2 * (torch.arange(grid) + 0.5) / grid - 1
        xy = torch.stack([centres[None].expand(grid, -1), centres[:, None].expand(-1, grid)], dim=-1)
        angles = 2 * math.pi * (xy @ self.w["sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"])
        return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(0, 1)

    def decoder_attention(self, name: str, q, k, v) -> torch.Tensor:
        parts = (self.linear(f"{name}.{part}_proj", x) for part, x in (("q", q), ("k", k), ("v", v)))
        return self.linear(f"{name}.out_proj", attend(*parts, self.sizes.decoder_heads))

    def masks(self, embeddings: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """Low-resolution logits (B, 4 grid, 4 grid) of the decoder's first mask."""
        decoder, grid = "sam.mask_decoder", embeddings.shape[-1]
        own = torch.cat([self.w[f"{decoder}.iou_token.weight"], self.w[f"{decoder}.mask_tokens.weight"]])
        places = torch.cat([own.expand(len(prompts), -1, -1), prompts], dim=1)
        image = (embeddings + self.w["sam.prompt_encoder.no_mask_embed.weight"][0][:, None, None]).flatten(2)
        tokens, image, where = places, image.transpose(1, 2), self.canvas_positions(grid)
        for index in range(self.count(f"{decoder}.transformer.layers.")):
            layer = f"{decoder}.transformer.layers.{index}"
            if index == 0:
                tokens = self.decoder_attention(f"{layer}.self_attn", tokens, tokens, tokens)
            else:
                placed = tokens + places
                tokens = tokens + self.decoder_attention(f"{layer}.self_attn", placed, placed, tokens)
            tokens = self.norm(f"{layer}.norm1", tokens)
            read = self.decoder_attention(f"{layer}.cross_attn_token_to_image", tokens + places, image + where, image)
            tokens = self.norm(f"{layer}.norm2", tokens + read)
            hidden = self.linear(f"{layer}.mlp.lin2", self.linear(f"{layer}.mlp.lin1", tokens).relu())
            tokens = self.norm(f"{layer}.norm3", tokens + hidden)
            read = self.decoder_attention(f"{layer}.cross_attn_image_to_token", image + where, tokens + places, tokens)
            image = self.norm(f"{layer}.norm4", image + read)
        last = f"{decoder}.transformer.final_attn_token_to_image"
        tokens = tokens + self.decoder_attention(last, tokens + places, image + where, image)
        tokens = self.norm(f"{decoder}.transformer.norm_final_attn", tokens)

        up = image.transpose(1, 2).unflatten(2, (grid, grid))
        weight, bias = (self.w[f"{decoder}.output_upscaling.0.{kind}"] for kind in ("weight", "bias"))
        up = F.gelu(self.channel_norm(f"{decoder}.output_upscaling.1", F.conv_transpose2d(up, weight, bias, stride=2)))
        weight, bias = (self.w[f"{decoder}.output_upscaling.3.{kind}"] for kind in ("weight", "bias"))
        up = F.gelu(F.conv_transpose2d(up, weight, bias, stride=2))
        reader = self.mlp(f"{decoder}.output_hypernetworks_mlps.0", tokens[:, 1])
        return torch.einsum("bc,bchw->bhw", reader, up)

    # ---- the whole ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def __call__(self, pixel_values, semantic_pixel_values, input_ids) -> dict[str, torch.Tensor]:
        """Low-resolution mask logits and boxes."""
        boxes, prompts = self.prompts(self.fused_patches(semantic_pixel_values, input_ids))
        embeddings = self.sam_image(pixel_values)
        return {"embeddings": embeddings, "boxes": boxes, "masks": self.masks(embeddings, prompts)}


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, mask=None) -> torch.Tensor:
    """Softmax attention between (B, T, width) sequences."""
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return ((scores if mask is None else scores + mask).softmax(-1) @ v).transpose(1, 2).flatten(2)


def distances(side: int) -> torch.Tensor:
    """Row of the table of distances for every pair of a query (rows) and a key (columns), (side, side)."""
    places = torch.arange(side)
    return places[:, None] - places[None] + side - 1


def losses(mask_logits, boxes, mask_labels, box_labels) -> dict[str, torch.Tensor]:
    """
    The original's losses, not yet weighted.

    Args:
        mask_logits: (B, M, M). mask_labels: the same, 0 or 1.
        boxes, box_labels: (B, 4), cxcywh.
    """
    batch, chance, truth = len(boxes), mask_logits.sigmoid().flatten(1), mask_labels.flatten(1)
    dice = (1 - (2 * (chance * truth).sum(1) + 1) / (chance.sum(1) + truth.sum(1) + 1)).sum() / batch
    right = torch.where(truth == 1, chance, 1 - chance)
    entropy = F.binary_cross_entropy_with_logits(mask_logits.flatten(1), truth, reduction="none")
    focal = (torch.where(truth == 1, 0.25, 0.75) * (1 - right) ** 2 * entropy).mean()

    def corners(box):
        return box[:, :2] - box[:, 2:] / 2, box[:, :2] + box[:, 2:] / 2

    (low, high), (true_low, true_high) = corners(boxes), corners(box_labels)
    common = (torch.minimum(high, true_high) - torch.maximum(low, true_low)).clamp(min=0).prod(1)
    union = (high - low).prod(1) + (true_high - true_low).prod(1) - common
    hull = (torch.maximum(high, true_high) - torch.minimum(low, true_low)).prod(1)
    giou = common / union - (hull - union) / hull
    return {
        "dice": dice,
        "focal": focal,
        "l1": (boxes - box_labels).abs().sum() / batch,
        "giou": (1 - giou).sum() / batch,
    }
