# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What readers of annotations and of checkpoints say to odd values in every field that they read."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ssp_sam.modeling_ssp_sam.conversion.checkpoint_files import read_weights
from tests.helpers.mutations import load_values, save_values
from tests.helpers.original_checkpoints import save_torchscript
from tests.helpers.reader_samples import SAMPLES, Read, read
from tests.helpers.robustness import attempt

# A value of another kind, of a wrong size, and of no kind.
ODD = {
    "null": None,
    "text": "²",
    "-1": -1,
    "2 to the power of 70": 2**70,
    "not a number": float("nan"),
    "a list of a list": [[]],
    "an object": {"a": 1},
}
# The file, and the path to one field of a record.
FIELDS = {
    "refcoco": [
        *(("refcoco/refs(unc).p", 0, name) for name in ("ref_id", "ann_id", "image_id", "split", "sentences")),
        *(("refcoco/instances.json", "annotations", 0, name) for name in ("id", "image_id", "segmentation", "bbox")),
        *(("refcoco/instances.json", "images", 0, name) for name in ("id", "height", "file_name", "license")),
    ],
    "grefcoco": [("grefcoco/grefs(unc).json", 0, name) for name in ("ann_id", "no_target", "sentences")],
    "phrasecut": [
        ("refer_miniv.json", 0, name)
        for name in ("task_id", "image_id", "phrase", "instance_boxes", "Polygons", "ann_ids")
    ],
    "original refcoco": [("anns/refcoco.json", "train", 0, name) for name in ("iid", "bbox", "refs", "mask_id")],
    "merge": [("merge.json", "train", 0, name) for name in ("data_source", "iid", "bbox", "refs")],
    "coco_in_one_file": [
        *(("instances.json", "annotations", 0, name) for name in ("id", "image_id", "category_id", "segmentation")),
        *(("instances.json", "images", 0, name) for name in ("id", "file_name", "width")),
    ],
}
WEIGHTS = {"a.weight": torch.arange(60.0).reshape(30, 2), "b": torch.zeros(3)}


def came(found: Read) -> str:
    """The number of rows, where all records are there; raises with the sentence otherwise."""
    for reason in (found.refused, *(str(bad) for bad in found.bad)):
        if reason:
            raise ValueError(reason)
    return f"{len(found.rows)} rows"


@pytest.mark.parametrize("name", FIELDS)
def test_odd_values_in_the_fields_of_annotations(rows, tmp_path, name):
    root = tmp_path / "files"
    root.mkdir()
    sample = SAMPLES[name]
    sample.write(root)
    for file, *place in FIELDS[name]:
        path, field = root / file, "/".join(map(str, place))
        valid = path.read_bytes()
        for kind, value in ODD.items():
            content = holder = load_values(path)
            for step in place[:-1]:
                holder = holder[step]
            holder[place[-1]] = value
            save_values(path, content)
            outcome = attempt(lambda: came(read(sample, root)))
            rows.add(f"reader of {name}", f"{path.name}, {field}: {kind}", outcome)
            path.write_bytes(valid)


@pytest.mark.parametrize("form", ["new", "old", "TorchScript", "safetensors"])
def test_checkpoints_cut_off_or_changed(rows, tmp_path, form):
    path: Path = tmp_path / ("best.safetensors" if form == "safetensors" else "best.pth")
    if form == "safetensors":
        save_file(WEIGHTS, path)
    elif form == "TorchScript":
        save_torchscript(path, WEIGHTS)
    else:
        torch.save({"model": WEIGHTS}, path, _use_new_zipfile_serialization=form == "new")
    valid = path.read_bytes()

    def tried(name: str, content: bytes):
        path.write_bytes(content)
        rows.add(f"converter, {form}", name, attempt(lambda: f"{len(read_weights(path))} tensors"))

    tried("whole", valid)
    for percent in range(0, 100, 10):
        tried(f"cut off at {percent} %", valid[: len(valid) * percent // 100])
    tried("a byte more", valid + b"x")
    tried("other bytes before it", b"<html>" + valid)
    tried("zeros in its place", bytes(len(valid)))
