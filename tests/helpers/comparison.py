# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Whether results agree that were computed by different routes: in other batches, other processes, or other libraries.

Every processor rounds otherwise, and a logit beside the threshold then makes a pixel of one mask and none of the other.
"""

import numpy as np

PIXELS, SCORE = 3, 1e-4


def masks_agree(one, other) -> bool:
    """Whether two masks (images, arrays, or the hexadecimal digits of their bits) differ in a few pixels at most."""
    one, other = map(_bits, (one, other))
    return one.shape == other.shape and int((one != other).sum()) <= PIXELS


def _bits(mask) -> np.ndarray:
    if isinstance(mask, str):
        return np.unpackbits(np.frombuffer(bytes.fromhex(mask), np.uint8))
    return np.asarray(mask) > 0


def boxes_agree(one, other) -> bool:
    """Whether two boxes, as the pipeline or as the processor gives them, differ by a pixel at most."""
    if one is None or other is None:
        return one is other
    if isinstance(one, dict):
        one, other = (list(box.values()) for box in (one, other))
    return bool(np.abs(np.subtract(one, other)).max() <= 1.01)


def results_agree(found: list[dict], expected: list[dict]) -> bool:
    """Whether two lists of results of the pipeline agree, entry by entry."""
    return len(found) == len(expected) and all(
        all(one[name] == other[name] for name in ("label", "no_target"))
        and abs(one["score"] - other["score"]) <= SCORE
        and boxes_agree(one["box"], other["box"])
        and masks_agree(one["mask"], other["mask"])
        for one, other in zip(found, expected, strict=True)
    )
