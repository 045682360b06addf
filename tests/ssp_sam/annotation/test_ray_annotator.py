# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Batches as Ray Data hands them over, and a local Ray of two workers, one of which is killed."""

import os
from pathlib import Path

import numpy as np
import pytest
from pyarrow import dataset, parquet

import ssp_sam
from tests.helpers.collections import EXPRESSIONS, damaged, image_bytes, image_folder
from tests.helpers.mortal_annotator import MortalAnnotator


def test_a_batch_becomes_the_rows_of_an_annotation(tiny_checkpoint, tmp_path):
    annotator = ssp_sam.ray_annotator(EXPRESSIONS, model=tiny_checkpoint)
    contents = [image_bytes(seed) for seed in range(3)] + [damaged()["text.png"]]
    batch = {"bytes": np.array(contents, dtype=object), "path": np.array(["a", "b", "c", "d"])}
    rows = annotator(batch).to_pylist()
    assert [row["image_id"] for row in rows] == ["a", "a", "b", "b", "c", "c", "d"]
    assert [bool(row["reason"]) for row in rows] == [False] * 6 + [True]
    folder = image_folder(tmp_path / "images", 3)
    ssp_sam.annotate(folder, tmp_path / "out", EXPRESSIONS, model=tiny_checkpoint, quiet=True)
    (path,) = (tmp_path / "out" / "data").iterdir()
    for own, other in zip(rows, parquet.read_table(path).to_pylist()):
        assert own["no_target"] == other["no_target"] and own["score"] == pytest.approx(other["score"], abs=1e-4)
        assert own["size_hw"] == other["size_hw"] and own["fingerprint"] == other["fingerprint"]


def test_a_batch_without_images_is_refused(tiny_checkpoint):
    with pytest.raises(ValueError, match="expected a column of images, got caption"):
        ssp_sam.ray_annotator("a dog", model=tiny_checkpoint)({"caption": np.array(["a"])})


@pytest.mark.long
def test_two_workers_one_of_them_killed_annotate_every_image_once(tiny_checkpoint, tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install ssp-sam[ray]")
    folder = image_folder(tmp_path / "images", 12)
    root = str(Path(ssp_sam.__file__).resolve().parents[1])
    environment = {"PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 * 2**20,
        runtime_env={"env_vars": {**environment, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}},
    )
    try:
        images = ray.data.read_binary_files(str(folder), include_paths=True)
        options = {"marker": str(tmp_path / "killed"), "expressions": EXPRESSIONS, "model": tiny_checkpoint}
        rows = images.map_batches(
            MortalAnnotator, fn_constructor_kwargs=options, batch_size=2, concurrency=2, num_cpus=0.5
        )
        rows.write_parquet(str(tmp_path / "out"))
    finally:
        ray.shutdown()
    assert (tmp_path / "killed").exists()
    found = dataset.dataset(tmp_path / "out").to_table().to_pylist()
    assert sorted(Path(row["image_id"]).name for row in found) == sorted(2 * [f"{seed:03d}.png" for seed in range(12)])
