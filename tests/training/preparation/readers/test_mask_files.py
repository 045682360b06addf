# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Masks from files of numpy that are damaged."""

import numpy as np
import pytest

from ssp_sam.training.preparation.readers.mask_files import read_mask_file
from ssp_sam.training.preparation.readers.records import BadRecord


def test_an_array_with_any_damage_to_its_header_is_read_or_named(tmp_path):
    path = tmp_path / "mask.npy"
    np.save(path, np.eye(9, dtype=bool))
    whole, refused = path.read_bytes(), 0
    for position in range(128):
        for byte in b"\x00({'\n9\xff":
            path.write_bytes(whole[:position] + bytes([byte]) + whole[position + 1 :])
            try:
                assert read_mask_file(str(path)).dtype == bool
            except BadRecord as error:
                assert "mask.npy" in str(error) and "\n" not in str(error)
                refused += 1
    assert refused > 100


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_file_that_is_no_array_is_named(tmp_path, suffix):
    path = tmp_path / f"mask{suffix}"
    path.write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': (((\n   ")
    with pytest.raises(BadRecord, match=r"mask\.np.' cannot be read \(it is no whole array of numpy\)"):
        read_mask_file(str(path))
