# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The annotation files of the original project, and its merge for box training."""

import json

import numpy as np
import pytest

from ssp_sam.training.data.prepared import decode_masks
from ssp_sam.training.preparation.readers import hub, original
from ssp_sam.training.preparation.readers.original import find_annotations, read_merge, read_original
from ssp_sam.training.preparation.readers.records import PreparationError
from tests.helpers.raw_benchmarks import (
    bad_records,
    coco_name,
    instances,
    rectangle,
    rows_of,
    write_array,
    write_coco_images,
    write_image,
)


def write_annotations(root, dataset, **splits):
    path = root / "anns" / f"{dataset}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(splits))
    return path


def entry(**changes):
    return {"iid": 581857, "bbox": [2, 3, 10, 10], "cat_id": 0, "refs": ["the lady"], "mask_id": 0, **changes}


@pytest.fixture
def images(tmp_path):
    return write_coco_images(tmp_path / "images")


def test_every_field_of_refcoco(tmp_path, images):
    # Masks of several polygons are sums: where they overlap they hold a 2.
    mask = rectangle(30, 40, 2, 3, 12, 13).astype(np.uint8) + rectangle(30, 40, 4, 4, 6, 6)
    write_array(tmp_path / "masks" / "refcoco" / "0.npy", mask)
    path = write_annotations(tmp_path, "refcoco", train=[entry(refs=["the lady", "left one"])], val=[])
    (row,) = rows_of(read_original(path), images)
    assert row["image"]["path"].endswith(coco_name(581857)) and row["image_id"] == "581857"
    assert row["expressions"] == ["the lady", "left one"] and row["split"] == "train" and row["ref_id"] == "0"
    assert (decode_masks(row) == (mask > 0)).all() and row["ann_ids"] == ["0"]
    assert row["box_xyxy"] == [2, 3, 12, 13] and row["source"] == "original_refcoco" and row["category"] == ""


def test_entries_of_one_mask_are_one_reference(tmp_path, images):
    write_array(tmp_path / "masks" / "refcoco+" / "4.npy", rectangle(30, 40, 2, 3, 12, 13))
    write_array(tmp_path / "masks" / "refcoco+" / "5.npy", rectangle(30, 40, 0, 0, 1, 1))
    entries = [entry(mask_id=4, refs=["a"]), entry(mask_id=5, refs=["b"]), entry(mask_id=4, refs=["c"])]
    rows = rows_of(read_original(write_annotations(tmp_path, "refcoco+", val=entries)), images)
    assert [(row["ref_id"], row["expressions"]) for row in rows] == [("4", ["a", "c"]), ("5", ["b"])]


def test_boxes_of_grefcoco_are_corners_and_category_minus_one_means_nothing(tmp_path, images):
    write_array(tmp_path / "masks" / "grefcoco" / "1.npy", rectangle(30, 40, 2, 3, 25, 15))
    write_array(tmp_path / "masks" / "grefcoco" / "2.npy", np.zeros((30, 40), np.uint8))
    both = entry(mask_id=1, cat_id=[1, 18], bbox=[2, 3, 25, 15])
    none = entry(mask_id=2, cat_id=[-1], bbox=[0, 0, 0, 0])
    path = write_annotations(tmp_path, "grefcoco", train=[both, none])
    row, nothing = rows_of(read_original(path), images)
    assert row["box_xyxy"] == [2, 3, 25, 15] and row["no_target"] is False
    assert nothing["no_target"] is True and nothing["box_xyxy"] is None and nothing["masks"] == []


def test_phrasecut_names_its_folder_of_images(tmp_path):
    write_array(tmp_path / "masks" / "phrase_cut_mask" / "7_0.npy", rectangle(30, 40, 2, 3, 12, 13))
    write_image(tmp_path / "vg" / "VG_100K_2" / "7.jpg", (40, 30))
    fields = {"iid": 7, "mask_id": "7_0", "img_folder": "VG_100K_2", "task_id": "7", "task_i": 0}
    path = write_annotations(tmp_path, "phrase_cut", test=[entry(bbox=[2, 3, 12, 13], **fields)])
    (row,) = rows_of(read_original(path), tmp_path / "vg")
    assert row["box_xyxy"] == [2, 3, 12, 13] and row["ref_id"] == "7_0" and decode_masks(row).sum() == 100


def test_masks_may_lie_elsewhere(tmp_path, images):
    write_array(tmp_path / "elsewhere" / "0.npy", rectangle(30, 40, 2, 3, 12, 13))
    path = write_annotations(tmp_path, "refcocog_umd", train=[entry()])
    with pytest.raises(PreparationError, match="no folder of masks for refcocog_umd.json"):
        read_original(path)
    (row,) = rows_of(read_original(path, masks=tmp_path / "elsewhere"), images)
    assert decode_masks(row).sum() == 100


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"mask_id": "../../secret"}, "leads out of the folder of masks"),
        ({"mask_id": 99}, "there is no mask"),
        ({"mask_id": 1}, "has (40, 30) pixels, its image (30, 40)|1.npy' has 40 x 30"),
        ({"mask_id": 2}, "cannot be read"),
        ({"mask_id": 3}, "array of two dimensions"),
        ({"refs": "a sentence"}, "at least one sentence"),
        ({"bbox": None}, "four numbers"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named_with_its_index(tmp_path, images, changes, reason):
    masks = tmp_path / "masks" / "refcoco"
    write_array(masks / "0.npy", rectangle(30, 40, 2, 3, 12, 13))
    write_array(masks / "1.npy", rectangle(40, 30, 2, 3, 12, 13))
    np.save(masks / "2.npy", np.array([{"code": 1}]), allow_pickle=True)
    np.save(masks / "3.npy", np.zeros((2, 3, 4, 5)))
    path = write_annotations(tmp_path, "refcoco", train=[entry(), entry(**{"mask_id": 8, **changes})])
    (found,) = bad_records(read_original(path), images)
    assert found.startswith("1: ") and any(part in found for part in reason.split("|"))


def merge_entry(source, name, refs=("a thing",), box=(1, 2, 11, 12)):
    return {"iid": name, "bbox": list(box), "refs": list(refs), "data_source": source, "cat_id": 0, "mask_id": -1}


def test_the_merge_keeps_boxes_sources_and_short_sentences(tmp_path, images):
    write_image(images / "flickr" / "1000092795.jpg", (40, 30))
    write_image(images / "VG" / "2347567.jpg", (40, 30))
    write_image(images / "referit" / "images" / "25.jpg", (40, 30))
    long = " ".join(["word"] * 41)
    entries = [
        merge_entry("coco", "581857.jpg", ["short", long]),
        merge_entry("flickr", "1000092795.jpg"),
        merge_entry("vg", "2347567.jpg"),
        merge_entry("referit", "25.jpg"),
        merge_entry("vg", "2347567.jpg", [long]),
    ]
    benchmark = read_merge(write_annotations(tmp_path, "merge", train=entries), set(), {})
    rows = rows_of(benchmark, images)
    assert [row["source"] for row in rows] == ["coco", "flickr", "vg", "referit"]
    assert [row["image_id"] for row in rows] == ["coco/581857", "flickr/1000092795", "vg/2347567", "referit/25"]
    assert rows[0]["expressions"] == ["short"] and rows[0]["box_xyxy"] == [1, 2, 11, 12]
    assert all(row["masks"] == [] and row["no_target"] is False for row in rows)
    assert benchmark.notes["long_sentences_dropped"] == 2
    assert benchmark.notes["references_with_long_sentences_alone_dropped"] == 1
    with pytest.raises(ValueError, match="box but no mask"):
        decode_masks(rows[0])


def test_the_merge_leaves_out_held_out_images_by_whichever_name(tmp_path, images):
    write_image(images / "VG" / "3.jpg", (40, 30))
    entries = [merge_entry("coco", f"{9:012d}.jpg"), merge_entry("vg", "2347567.jpg"), merge_entry("vg", "3.jpg")]
    path = write_annotations(tmp_path, "merge", train=entries, val=entries[:1])
    # Image 2347567 of Visual Genome is COCO's image 581857.
    benchmark = read_merge(path, {"coco:9", "coco:581857"}, {"2347567": "581857"})
    assert [(row["split"], row["image_id"]) for row in rows_of(benchmark, images)] == [
        ("train", "vg/3"),
        ("val", "coco/9"),
    ]
    assert benchmark.notes["references_of_held_out_images_dropped"] == 2


def test_the_annotation_file_must_be_one_of_the_original(tmp_path):
    path = write_annotations(tmp_path, "refcoco", train=[])
    assert find_annotations(path) == path and find_annotations(tmp_path / "anns") == path
    write_annotations(tmp_path, "grefcoco", train=[])
    with pytest.raises(PreparationError, match="grefcoco.json, refcoco.json"):
        find_annotations(tmp_path / "anns")
    with pytest.raises(PreparationError, match="none"):
        find_annotations(tmp_path)
    merge = write_annotations(tmp_path / "m", "merge", train=[])
    with pytest.raises(PreparationError, match="benchmark 'merge'"):
        read_original(merge)


# ---- Masks drawn from COCO's annotations, files fetched from the Hub ------------------------------------------------


def write_coco_instances(root, **changes):
    path = root / "instances_train2014.json"
    path.write_text(json.dumps(instances() | changes))
    return path


def test_masks_are_drawn_from_the_one_annotation_with_the_entrys_box(tmp_path, images):
    entries = [entry(), entry(mask_id=1, iid=9, bbox=[0, 0, 12, 32], refs=["the bottle"])]
    path = write_annotations(tmp_path, "refcoco", train=entries)
    lady, bottle = rows_of(read_original(path, coco=write_coco_instances(tmp_path)), images)
    assert (decode_masks(lady) == rectangle(30, 40, 2, 3, 12, 13)).all() and lady["ann_ids"] == ["1719310"]
    assert decode_masks(bottle).sum() == 8 and bottle["ref_id"] == "1" and bottle["image_id"] == "9"


def test_several_targets_are_the_annotations_with_that_hull_and_none_stays_none(tmp_path, images):
    both = entry(cat_id=[1, 18], bbox=[2, 3, 25.0, 15.0])
    none = entry(mask_id=1, cat_id=[-1], bbox=[0, 0, 0, 0])
    path = write_annotations(tmp_path, "grefcoco", val=[both, none])
    row, nothing = rows_of(read_original(path, coco=write_coco_instances(tmp_path)), images)
    assert row["ann_ids"] == ["1719310", "1719311"] and decode_masks(row).sum() == 150
    assert row["box_xyxy"] == [2, 3, 25, 15] and nothing["no_target"] is True and nothing["masks"] == []


def test_a_box_of_no_annotation_or_of_two_is_named(tmp_path, images):
    annotations = instances()["annotations"]
    annotations.append({**annotations[0], "id": 5, "segmentation": [[2, 3, 12, 3, 12, 13]]})
    coco = write_coco_instances(tmp_path, annotations=annotations)
    path = write_annotations(tmp_path, "refcoco", train=[entry(bbox=[2, 3, 10, 11]), entry(mask_id=1)])
    none, two = bad_records(read_original(path, coco=coco), images)
    assert none.startswith("0: no choice of 1 annotations of image 581857 in instances_train2014.json has the box")
    assert two.startswith("1: more than one choice of 1 annotations of image 581857")
    with pytest.raises(PreparationError, match="the images of refclef are not COCO's"):
        read_original(write_annotations(tmp_path / "other", "refclef", train=[]), coco=coco)


def test_a_file_is_fetched_from_the_repository_whatever_folder_it_lies_in(tmp_path, monkeypatch):
    asked = []

    def snapshot(repo_id, repo_type, allow_patterns):
        asked.append((repo_id, repo_type, allow_patterns))
        write_annotations(tmp_path / "data_seg", "refcoco+", train=[])
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", snapshot)
    monkeypatch.setattr(original, "list_files", lambda *_: ["data_seg/anns/refcoco+.json", "README.md"])
    found = original.fetch_annotations("wayneicloud/SSP-SAM", "refcoco+")
    assert found == tmp_path / "data_seg" / "anns" / "refcoco+.json"
    assert asked == [("wayneicloud/SSP-SAM", "model", ["refcoco+.json", "*/refcoco+.json"])]
    with pytest.raises(PreparationError, match=r"holds no grefcoco.json; there are data_seg/anns/refcoco\+.json"):
        original.fetch_annotations("wayneicloud/SSP-SAM", "grefcoco")
    with pytest.raises(PreparationError, match="must be one of refcoco, .*, got 'coco'"):
        original.fetch_annotations("wayneicloud/SSP-SAM", "coco")


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    def fail(*_, **__):
        raise OSError("no network\nand more lines")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(PreparationError, match=r"^cannot fetch 'a/b' from the Hub \(no network\)$"):
        original.fetch_annotations("a/b", "refcoco")
