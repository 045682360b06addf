#!/usr/bin/env python
# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Measures the memory of training adapters: the paper's larger model with random weights, on a CPU.

    python scripts/measure_adapters.py --batch 8

Each row is a process of its own, which makes three steps of the referring objective with cached embeddings of SAM's
image encoder; its memory is the highest resident size above that of the imported libraries.
"""

import argparse
import resource
import subprocess
import sys

ROWS = {
    "adapters": [],
    "adapters, frozen towers in bfloat16": ["--frozen_dtype", "bfloat16"],
    "adapters, frozen towers in bfloat16, checkpointing": ["--frozen_dtype", "bfloat16", "--checkpointing"],
    "all that the paper trains": ["--lora_rank", "0"],
}


def peak_gigabytes() -> float:
    """The highest resident size of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(options: argparse.Namespace) -> str:
    """Trains three steps and returns a row of the table."""
    import torch

    from ssp_sam import SspSamConfig, SspSamModel
    from ssp_sam.training.adapters import adapt, lower_precision
    from ssp_sam.training.arguments import AdapterArguments
    from ssp_sam.training.objectives import ReferringObjective

    torch.manual_seed(0)
    imported = peak_gigabytes()
    with torch.device("meta"):
        model = SspSamModel(SspSamConfig.from_preset(options.preset))
    lower_precision(model, getattr(torch, options.frozen_dtype))
    model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *(buffer for buffer in model.buffers() if buffer.is_floating_point())):
        torch.nn.init.constant_(tensor, 0.01)
    for name, buffer in model.named_buffers():
        if name.endswith("position_ids"):
            buffer.copy_(torch.arange(buffer.shape[-1]).expand_as(buffer))
    if options.lora_rank:
        adapt(model, AdapterArguments(lora_rank=options.lora_rank, frozen_dtype=options.frozen_dtype))
    objective = ReferringObjective(model, None)
    if options.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    objective.train()
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    loaded = peak_gigabytes()
    for _ in range(3):
        loss, _ = objective(make_batch(model.config, options.batch))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    saved = sum(parameter.numel() for parameter in trained) * 4 / 1e6
    cells = (f"{saved:.1f} MB", f"{loaded - imported:.2f} GB", f"{peak_gigabytes() - imported:.2f} GB")
    return f"| {options.row} | {' | '.join(cells)} |"


def make_batch(config, num_expressions: int) -> dict:
    """Random images of the semantic tower, cached embeddings, words and labels."""
    import torch

    vision = config.sam_config.vision_config
    side, words = vision.image_size // vision.patch_size, config.text_config.max_position_embeddings
    semantic = config.vision_config.image_size
    return {
        "image_embeddings": torch.randn(num_expressions, vision.output_channels, side, side),
        "semantic_pixel_values": torch.randn(num_expressions, 3, semantic, semantic),
        "input_ids": torch.randint(1, config.text_config.vocab_size, (num_expressions, words)),
        "attention_mask": torch.ones(num_expressions, words, dtype=torch.long),
        "image_index": torch.arange(num_expressions),
        "mask_labels": (torch.rand(num_expressions, config.mask_size, config.mask_size) > 0.5).float(),
        "box_labels": torch.rand(num_expressions, 4) * 0.4 + 0.3,
        "no_target_labels": torch.zeros(num_expressions),
    }


def main():
    """Measures every row in a process of its own, or the one of `--row` in this one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="paper_l14_336")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--lora_rank", type=int, default=8)
    parser.add_argument("--frozen_dtype", default="float32")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--row")
    options = parser.parse_args()
    if options.row:
        print(measure(options))
        return
    print(f"{options.preset}, {options.batch} expressions a step, rank {options.lora_rank}, on a CPU\n")
    print("| trained | its weights | model in memory | highest while training |\n|---|---|---|---|", flush=True)
    for row, words in ROWS.items():
        common = ["--preset", options.preset, "--batch", str(options.batch), "--lora_rank", str(options.lora_rank)]
        subprocess.run([sys.executable, __file__, *common, *words, "--row", row], check=True)


if __name__ == "__main__":
    main()
