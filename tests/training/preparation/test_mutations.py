# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Valid files of every reader, changed at random: rows or one named sentence come, and no mask that is wrong."""

import os
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow
import pytest

from ssp_sam.training.data.prepared import FEATURES
from tests.helpers.mutations import Mutation, mutate_file
from tests.helpers.reader_samples import SAMPLES, Read, Sample, read
from tests.helpers.robustness import INTERNAL

# Fields on which the pixels that are meant may depend.
DRAWN = set(
    """segmentation counts size Polygons bbox instance_boxes mask masks mask_values mask_id box iscrowd ann_id ann_ids
    image_id iid id file_name image images photo height width annotations shapes points imageData imagePath imageHeight
    imageWidth shape_type samples raw_anns raw_image_info img_folder cat_id data_source references group_id flags bytes
    path no_target coco_url category_id name label""".split()
)
# Fields of which sentences are made where a dataset has none.
SAID = {"bbox", "segmentation", "points", "box", "name", "label", "category_id", "shape_type", "group_id"}
CASES = range(400)
MANY_CASES = 24_000


@dataclass(frozen=True)
class Prepared:
    """A sample in a folder, with what it gives unchanged."""

    sample: Sample
    root: Path
    files: list[Path]
    before: Read


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> dict[str, Prepared]:
    prepared = {}
    for name, sample in SAMPLES.items():
        root = tmp_path_factory.mktemp("sample") / "files"
        root.mkdir()
        sample.write(root)
        before = read(sample, root)
        assert before.rows and not before.bad and not before.refused, (name, before.bad, before.refused)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        notes = [path for path in files if path.suffix not in (".png", ".jpg", ".npy")]
        prepared[name] = Prepared(sample, root, notes * 8 + files, before)
    return prepared


def check(case: int, samples: dict[str, Prepared], reasons: Counter | None = None):
    """Changes one file of a sample, reads all, and checks what came."""
    generator = random.Random(case)
    name = list(samples)[case % len(samples)]
    prepared = samples[name]
    path = generator.choice(prepared.files)
    unchanged = path.read_bytes()
    try:
        mutation = mutate_file(path, generator)
        what = f"case {case}, {name}, {mutation}"
        found = read(prepared.sample, prepared.root)
    except Exception as error:
        raise AssertionError(f"case {case}, {name}, {path.name}: {type(error).__name__}: {error}") from error
    finally:
        path.write_bytes(unchanged)
    sentences = [bad.reason for bad in found.bad] + ([found.refused] if found.refused else [])
    for bad in found.bad:
        assert bad.origin and bad.index >= 0, what
    for sentence in sentences:
        assert sentence and "\n" not in sentence and len(sentence) < 1000, (what, sentence)
        assert not INTERNAL.search(sentence) and "it cannot be read (" not in sentence, (what, sentence)
        if reasons is not None:
            reasons[sentence[:40]] += 1
    pyarrow.Table.from_pylist(list(found.rows.values()), schema=FEATURES.arrow_schema)
    check_rows(what, mutation, prepared.before, found)


def check_rows(what: str, mutation: Mutation, before: Read, found: Read):
    """What is there as before means the same pixels of the same image, unless that was what was changed."""
    for key, row in found.rows.items():
        assert all(mask["size"] == row["size_hw"] for mask in row["masks"]), what
        known = before.rows.get(key)
        if known is not None and not mutation.touches(DRAWN):
            assert row["masks"] == known["masks"], what
            assert row["no_target"] == known["no_target"] and row["box_xyxy"] == known["box_xyxy"], what
    lost = len(before.rows) - len(found.rows)
    in_a_record = len(mutation.path) > 2 and not (mutation.kind == "delete" and isinstance(mutation.path[-1], int))
    if lost > 0 and in_a_record and not mutation.touches(SAID):
        notes = (found.notes or Counter()) - (before.notes or Counter())
        assert found.bad or found.refused or notes, f"{what}: {lost} references are gone without a word"


@pytest.mark.parametrize("part", range(4))
def test_changed_files_give_rows_or_named_sentences(part, samples):
    for case in CASES[part::4]:
        check(case, samples)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_changed_files_give_rows_or_named_sentences(samples):
    first = int(os.environ.get("SEED", random.SystemRandom().randrange(10**9)))
    print(f"SEED={first} repeats these {MANY_CASES} cases")
    failed = []
    for case in range(first, first + MANY_CASES):
        try:
            check(case, samples)
        except AssertionError as error:
            failed.append(str(error).splitlines()[0][:500])
    assert not failed, f"{len(failed)} of {MANY_CASES} cases:\n" + "\n".join(failed[:50])
