# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Keys that only fill up a block change nothing, and stand where they are said to help."""

import pytest
import torch
from torch.nn import functional as F

from ssp_sam.modeling_ssp_sam import attention_functions
from ssp_sam.modeling_ssp_sam.attention_functions import attend_in_parts, fill_blocks

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}


def random_attention(num_keys: int, dtype: torch.dtype) -> tuple:
    query, key, value = (
        torch.randn(2, 3, length, 8, generator=torch.manual_seed(length)).to(dtype)
        for length in (5, num_keys, num_keys)
    )
    return query, key + 1, value + 1


@pytest.mark.parametrize("masked", ["nothing", "some keys", "all keys"])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("num_keys", [1, 2, 9, 15, 16, 17, 21, 33, 133])
def test_attention_is_that_without_filling(num_keys, dtype, masked):
    query, key, value = random_attention(num_keys, dtype)
    mask = None
    if masked != "nothing":
        mask = torch.zeros(2, 1, 1, num_keys, dtype=dtype)
        mask[0, ..., num_keys // 2 :] = torch.finfo(dtype).min
        if masked == "all keys":
            mask[:] = torch.finfo(dtype).min
        mask = mask.expand(-1, -1, 5, -1)
    filled_key, filled_value, filled_mask = fill_blocks(key, value, mask)
    found = F.scaled_dot_product_attention(query, filled_key, filled_value, attn_mask=filled_mask)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(found, expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize(
    "num_keys, of_float32, of_bfloat16",
    [(1, 1, 1), (2, 16, 16), (9, 16, 16), (16, 16, 16), (17, 17, 17), (21, 32, 32), (133, 133, 144), (325, 325, 336)],
)
def test_blocks_that_help_are_filled(num_keys, of_float32, of_bfloat16):
    for dtype, expected in ((torch.float32, of_float32), (torch.bfloat16, of_bfloat16)):
        _, key, value = random_attention(num_keys, dtype)
        filled = fill_blocks(key, value)
        assert filled[0].shape[2] == filled[1].shape[2] == expected


def test_no_key_is_added_on_other_devices():
    key = torch.zeros(1, 2, 9, 8, device="meta")
    assert fill_blocks(key, key) == (key, key, None)


@pytest.mark.parametrize("part", [1, 100, 1 << 21])
@pytest.mark.parametrize("mask_shape", [None, (2, 1, 5, 7), (1, 1, 1, 7)])
def test_attention_in_parts_is_attention(part, mask_shape, monkeypatch):
    monkeypatch.setattr(attention_functions, "PART", part)
    query, key, value = random_attention(7, torch.float32)
    mask = None if mask_shape is None else torch.randn(mask_shape)
    found = attend_in_parts(query * 0.5, key, value, mask)
    expected = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.5)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
