# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Cuts what was found out of its image."""

import numpy as np
from PIL import Image


def cut_out(image: Image.Image, mask: np.ndarray) -> Image.Image:
    """
    Returns what lies inside a mask, RGBA, transparent elsewhere, as large as the box around it.

    Args:
        image: Upright, any mode.
        mask: (height, width) bool, with at least one pixel inside.

    Raises:
        ValueError: The mask is empty or of another size.
    """
    if mask.shape != (image.height, image.width):
        raise ValueError(f"expected a mask of {(image.height, image.width)} pixels, got {mask.shape}")
    alpha = Image.fromarray(mask.astype(np.uint8) * 255)
    box = alpha.getbbox()
    if box is None:
        raise ValueError("expected a mask with a pixel inside, got an empty one")
    cut = image.convert("RGB").crop(box)
    cut.putalpha(alpha.crop(box))
    return cut
