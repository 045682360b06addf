# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Every format of custom datasets, shaped like its tool's export: found, read, refused by file, entry and field."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from ssp_sam.training.data.prepared import decode_masks, load_prepared, split_role
from ssp_sam.training.preparation import settings
from ssp_sam.training.preparation.prepare import prepare
from ssp_sam.training.preparation.readers.custom import formats
from ssp_sam.training.preparation.readers.custom.formats import FORMATS, find_format, open_custom
from ssp_sam.training.preparation.readers.records import PreparationError
from ssp_sam.training.preparation.report import describe
from ssp_sam.training.preparation.settings import PreparationSettings
from tests.helpers import custom_datasets as exports
from tests.helpers.custom_datasets import COLUMNS, DATASETS, SAID, SPLITS, write

EXPORTS = [pytest.param(writer, id=writer.__name__) for writer in DATASETS]


def prepared(root, output, writer, **settings):
    columns = {"columns": COLUMNS} if DATASETS[writer] == "table" else {}
    return prepare(PreparationSettings("custom", str(root), **columns, **settings), output)


@pytest.mark.parametrize("writer", EXPORTS)
def test_every_export_says_the_same_of_the_same_pixels(writer, tmp_path):
    root = writer(tmp_path / "data")
    assert find_format(root)[0] == DATASETS[writer]
    report = prepared(root, tmp_path / "out", writer)
    title = FORMATS[DATASETS[writer]].title
    assert describe(report).startswith(f"format: {title}, by ") and report["bad_records"]["skipped"] == 0
    found, absent = {}, {}
    for split in list(report["counts"])[:-1]:
        for row in load_prepared(tmp_path / "out", split):
            assert row["image"].size == (exports.WIDTH, exports.HEIGHT) and row["source"] == "own"
            if row["no_target"]:
                absent[row["image_id"]] = row["expressions"][0]
            else:
                found |= {text: (int(decode_masks(row).sum()), split_role(split)) for text in row["expressions"]}
    train, validation = split_role("train"), split_role("val")
    if writer is exports.masks_of_roboflow:  # where nothing tells objects apart, one sentence means all of a class
        assert {text: pixels for text, (pixels, _) in found.items()} == {"cup": 100, "plate": 100}
        assert absent and set(absent.values()) <= {"fork", "plate"}
        return
    assert {text: pixels for text, (pixels, _) in found.items()} == SAID
    splits = {text: role for text, (_, role) in found.items()}
    if writer is exports.yolo_of_label_studio:
        assert set(splits.values()) == {train}
    else:
        assert splits == {**dict.fromkeys(SAID, train), "the cup": validation}
    assert absent and set(absent.values()) <= {"the fork", "the plate"}


def test_what_is_no_object_is_counted(tmp_path):
    notes = prepared(exports.cvat(tmp_path / "a"), tmp_path / "out_a", exports.cvat)["notes"]
    assert notes["shapes_without_area"] == 2 and notes["images_without_annotations"] == 1
    notes = prepared(exports.labelme(tmp_path / "b"), tmp_path / "out_b", exports.labelme)["notes"]
    assert notes["shapes_without_area"] == 1 and notes["references_with_made_expressions"] == 6


# ---- Which format a folder has -------------------------------------------------------------------------------------


def test_two_formats_in_one_folder_are_named_with_the_option_that_decides(tmp_path):
    root = exports.coco_in_one_file(exports.cvat(tmp_path))
    with pytest.raises(PreparationError, match="COCO .instances.json, 1 files. and CVAT for images") as caught:
        open_custom(str(root))
    assert caught.value.hint == "--format coco or --format cvat says it"
    assert open_custom(str(root), format="cvat").format == "CVAT for images, by annotations.xml"
    assert open_custom(str(root / "instances.json")).format == "COCO, by instances.json"


def test_a_folder_without_annotations_says_what_was_expected(tmp_path):
    exports.photograph(tmp_path / "0001.jpg")
    with pytest.raises(
        PreparationError, match="there are no annotations in .*: expected metadata.jsonl .*, or a .json"
    ):
        open_custom(str(tmp_path))
    with pytest.raises(PreparationError, match="expected an .xml of <annotations> .cvat.$"):
        open_custom(str(tmp_path), format="cvat")
    with pytest.raises(PreparationError, match="no file or folder of annotations '.*nowhere'"):
        open_custom(str(tmp_path / "nowhere"))
    with pytest.raises(PreparationError, match="format must be one of metadata, .*, got 'voc'"):
        PreparationSettings("custom", str(tmp_path), format="voc")
    with pytest.raises(PreparationError, match="format belongs to custom, got 'coco'"):
        PreparationSettings("refcoco", str(tmp_path), format="coco")


def test_what_was_prepared_before_is_no_custom_dataset(tmp_path):
    root = exports.cvat(tmp_path / "data")
    prepared(root, root / "outputs" / "prepared", exports.cvat)
    assert find_format(root) == ("cvat", [root / "annotations.xml"])
    with pytest.raises(PreparationError, match="is a prepared dataset already; for training, give it as --dataset"):
        find_format(root / "outputs" / "prepared")


@pytest.mark.parametrize("writer", [exports.cvat, exports.yolo_of_roboflow])
def test_sentences_are_made_only_where_that_is_wanted(writer, tmp_path):
    with pytest.raises(PreparationError, match="has no sentences: give annotations a list") as caught:
        list(open_custom(str(writer(tmp_path)), made_expressions=False).references)
    assert "--no-made-expressions" in caught.value.hint


def test_images_elsewhere_are_found_in_their_folder(tmp_path):
    root = exports.labelme(tmp_path / "data")
    (root / "images").rename(tmp_path / "photos")
    report = prepared(root, tmp_path / "out", exports.labelme, images=str(tmp_path / "photos"))
    assert report["counts"]["total"]["images"] == 2


def test_one_name_in_two_folders_is_two_images(tmp_path):
    for number, folder in enumerate(("cam1", "cam2")):
        exports.photograph(tmp_path / "images" / folder / "0001.jpg", number)
        write(tmp_path / "labels" / folder / "0001.txt", exports.yolo_lines("0001" if number == 0 else "0002"))
    write(tmp_path / "classes.txt", "cup\nfork\nplate\n")
    prepared(tmp_path, tmp_path / "out", exports.yolo_of_label_studio)
    rows = load_prepared(tmp_path / "out", "train")
    meant = {
        row["image_id"]: row["expressions"][0] for row in rows if row["category"] == "cup" and not row["no_target"]
    }
    assert meant.keys() == {"images/cam1/0001.jpg", "images/cam2/0001.jpg"}


# ---- What is wrong is named by file, entry and field ---------------------------------------------------------------


def in_json(name, change):
    def mutate(root):
        content = json.loads((root / name).read_text())
        change(content)
        write(root / name, content)

    return mutate


def in_text(name, old, new):
    def mutate(root):
        text = (root / name).read_text()
        assert old in text
        write(root / name, text.replace(old, new, 1))

    return mutate


def set_in(*keys, **values):
    def change(content):
        for key in keys:
            content = content[key]
        content.update(values)

    return change


def drop(*keys):
    def change(content):
        for key in keys[:-1]:
            content = content[key]
        del content[keys[-1]]

    return change


def save(name, array):
    return lambda root: Image.fromarray(array).save(root / name)


LABELME, YOLO = "annotations/train/0001.json", "labels/train/0001.txt"
COCO = "instances.json"
# The export, what is done to it, and what is said: the file, the entry, the field.
FAULTS = [
    (exports.coco_in_one_file, in_json(COCO, drop("annotations", 1, "image_id")), f"record 1 of {COCO}.*'image_id'"),
    (
        exports.coco_in_one_file,
        in_json(COCO, set_in("annotations", 0, image_id=99)),
        f"record 0 of {COCO}, 'annotations': {COCO} has no image 99",
    ),
    (
        exports.coco_in_one_file,
        in_json(COCO, drop("categories")),
        f"record 0 of {COCO}, 'annotations': annotation 7 has neither a sentence nor a class with a name",
    ),
    (exports.coco_in_one_file, in_json(COCO, drop("images", 0, "file_name")), f"record 0 of {COCO}.*'file_name'"),
    (
        exports.coco_in_one_file,
        in_json(COCO, set_in("annotations", 2, segmentation={"size": [48, 64], "counts": [1, 2]})),
        f"record 2 of {COCO}, 'annotations': annotation 9: run lengths must be 0 or more and add up to 48 x 64",
    ),
    (exports.coco_in_one_file, in_json(COCO, set_in("images", 0, width="wide")), f"record 0 of {COCO}.*'width'"),
    (
        exports.coco_in_one_file,
        lambda root: (root / "photos/0001.jpg").unlink(),
        f"record 0 of {COCO}.*'photos/0001.jpg'",
    ),
    (exports.labelme, in_json(LABELME, drop("imagePath")), f"record 0 of {LABELME}: the field 'imagePath' is missing"),
    (
        exports.labelme,
        in_json(LABELME, drop("shapes", 1, "label")),
        f"record 1 of {LABELME}, 'shapes': the field 'label'",
    ),
    (
        exports.labelme,
        in_json(LABELME, set_in("shapes", 0, points=[[1, "a"], [2, 3], [4, 5]])),
        f"record 0 of {LABELME}, 'shapes': the field 'points' must hold numbers",
    ),
    (
        exports.labelme,
        in_json(LABELME, set_in("shapes", 1, shape_type="star")),
        f"record 1 of {LABELME}, 'shapes': the field 'shape_type' must be one of polygon.*, got 'star'",
    ),
    (
        exports.labelme,
        in_json("annotations/val/0002.json", set_in("shapes", 0, mask="§")),
        "record 0 of annotations/val/0002.json, 'shapes': the field 'mask' must be a file in base64",
    ),
    (
        exports.labelme,
        in_json("annotations/val/0002.json", set_in("shapes", 0, points=[[60, 40], [69, 49]])),
        "record 0 of annotations/val/0002.json, 'shapes': its mask of 10 x 10 .* leaves the image of 48 x 64",
    ),
    (
        exports.labelme,
        in_text(LABELME, '"shapes": [', '"shapes": [['),
        f"record 0 of {LABELME}: .*cannot read .*as JSON",
    ),
    (exports.yolo_of_ultralytics, in_text(YOLO, "2 ", "7 "), f"record 2 of {YOLO}: the field 'class' is 7"),
    (
        exports.yolo_of_ultralytics,
        in_text(YOLO, "2 0", "2 x"),
        f"record 2 of {YOLO}: the field 'coordinates' must hold num",
    ),
    (exports.yolo_of_ultralytics, in_text(YOLO, "0 0.0", "0 12.0"), f"record 0 of {YOLO}: .*'coordinates' .*fractions"),
    (exports.yolo_of_ultralytics, in_text(YOLO, "0 0.", "0 0.1 0."), f"record 0 of {YOLO}: .*'coordinates' .*in pairs"),
    (
        exports.yolo_of_ultralytics,
        lambda root: (root / "images/train/0001.jpg").unlink(),
        f"record 0 of {YOLO}: there is no image of the name '0001'",
    ),
    (
        exports.yolo_of_ultralytics,
        in_text("data.yaml", "names:", "label:"),
        "names of classes: expected a YAML file with",
    ),
    (exports.yolo_of_ultralytics, in_text("data.yaml", "path:", "kpt_shape: [5, 3]\npath:"), "data.yaml' is for poses"),
    (exports.yolo_of_ultralytics, in_text("data.yaml", "names:", "names: ["), "data.yaml' is no YAML"),
    (
        exports.cvat,
        in_text("annotations.xml", 'label="cup" ', ""),
        "record 0 of annotations.xml, image '0001.jpg': the field 'label' is missing|record 1 of .*the field 'label'",
    ),
    (
        exports.cvat,
        in_text("annotations.xml", 'points="5.00', 'points="five'),
        "record 1 of annotations.xml, image '0001.jpg': the field 'points' must hold numbers",
    ),
    (
        exports.cvat,
        in_text("annotations.xml", 'rle="12', 'rle="13'),
        "record 2 of annotations.xml, image '0001.jpg': the field 'rle' must fill 13 x 12 pixels",
    ),
    (
        exports.cvat,
        in_text("annotations.xml", 'left="40"', 'left="60"'),
        "record 2 of annotations.xml, image '0001.jpg': its mask .* leaves the image",
    ),
    (
        exports.cvat,
        in_text("annotations.xml", 'name="0001.jpg"', ""),
        "record 0 of annotations.xml: the field 'name' is missing",
    ),
    (exports.cvat, in_text("annotations.xml", "</meta>", "</mata>"), "cannot read .*annotations.xml.*mismatched tag"),
    (exports.cvat, in_text("annotations.xml", "<image", '<track id="0"></track><image'), "annotates a video"),
    (
        exports.masks_of_voc,
        in_text("class_names.txt", "plate\n", ""),
        "record 0 of SegmentationClass/0001.png: it holds the value 3, which the table of classes does not name",
    ),
    (
        exports.masks_of_cvat,
        in_text("labelmap.txt", "52,209,183", "52,209,1"),
        "record 0 of SegmentationClass/0001.png: it holds the value #34d1b7, which the table",
    ),
    (
        exports.masks_of_voc,
        in_text("class_names.txt", "_background_\n", ""),
        "class_names.txt' does not say which value each class has",
    ),
    (
        exports.masks_of_voc,
        save("SegmentationObject/0001.png", np.zeros((4, 4), np.uint8)),
        r"record 0 of SegmentationClass/0001.png: it has \(48, 64\) pixels, 'SegmentationObject/0001.png' has \(4, 4\)",
    ),
    (
        exports.masks_of_roboflow,
        save("train/0001_mask.png", np.zeros((4, 4), np.uint8) + 1),
        "record 0 of train/0001_mask.png: the image has 48 x 64 pixels .*, the annotation says 4 x 4",
    ),
    (
        exports.metadata,
        in_text("metadata.jsonl", '"the plate"', "5"),
        "record 3 of metadata.jsonl: a sentence must be text, got 5",
    ),
    (
        exports.metadata,
        in_text("metadata.jsonl", '"mask"', '"musk"'),
        "record 0 of metadata.jsonl: the field 'mask' is m",
    ),
    (
        exports.table,
        lambda root: (root / "data/train-00000-of-00001.parquet").write_bytes(b"PAR1"),
        "cannot read .*train-00000-of-00001.parquet'",
    ),
]


@pytest.mark.parametrize("writer, mutate, said", [pytest.param(*fault, id=f"{i}") for i, fault in enumerate(FAULTS)])
def test_what_is_wrong_is_named_by_file_entry_and_field(writer, mutate, said, tmp_path):
    root = writer(tmp_path / "data")
    mutate(root)
    with pytest.raises(PreparationError) as caught:
        prepared(root, tmp_path / "out", writer)
    assert re.search(said, str(caught.value)), str(caught.value)
    assert len(str(caught.value)) < 600 and "\n" not in str(caught.value)


def test_every_format_has_an_export_and_faults():
    assert (
        set(DATASETS.values()) == set(FORMATS) == set(settings.FORMATS) == {DATASETS[writer] for writer, _, _ in FAULTS}
    )


def test_an_image_with_one_bad_record_is_left_out_where_sentences_would_be_uncertain(tmp_path):
    root = exports.labelme(tmp_path / "data")
    in_json(LABELME, drop("shapes", 1, "label"))(root)
    report = prepared(root, tmp_path / "out", exports.labelme, skip_bad=True)
    assert report["notes"]["images_left_out_for_one_record"] == 1 and list(report["counts"]) == ["val", "total"]


def test_one_sentence_that_is_none_leaves_the_others_of_its_image(tmp_path):
    root = exports.coco_in_one_file(tmp_path / "data")
    in_json(COCO, lambda content: [item.update(caption=[item["id"]]) for item in content["annotations"][1:]])(root)
    in_json(COCO, set_in("annotations", 0, caption="the cup on the left"))(root)
    items = list(open_custom(str(root)).references)
    assert [item.index for item in items] == [0, 1, 2, 3] and items[0].expressions == ["the cup on the left"]
    assert all("a sentence must be text" in item.reason for item in items[1:])


def test_a_table_names_its_columns(tmp_path):
    root = exports.table(tmp_path)
    with pytest.raises(PreparationError, match="no column 'image' and no 'mask' and no 'expressions'; there are photo"):
        list(open_custom(str(root)).references)
    with pytest.raises(PreparationError, match="has no column 'picture'; there are photo, masks, text"):
        list(open_custom(str(root), columns={**COLUMNS, "image": "picture"}).references)
    with pytest.raises(PreparationError, match="columns are those of image, mask, .*, got 'images'"):
        open_custom(str(root), columns={"images": "photo"})
    assert {item.split for item in open_custom(str(root), columns=COLUMNS).references} == set(SPLITS.values())


def test_a_table_of_the_hub_is_fetched_by_its_id(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "fetch_files", lambda repo_id, patterns: exports.table(tmp_path / repo_id))
    benchmark = open_custom("owner/name", columns=COLUMNS)
    assert benchmark.holds_images and len(list(benchmark.references)) == 6
    with pytest.raises(PreparationError, match="no file or folder of annotations 'owner/other'"):
        open_custom("owner/other")


def test_entities_of_xml_that_grow_are_refused(tmp_path):
    root = exports.cvat(tmp_path)
    names = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    text = (root / "annotations.xml").read_text().replace("?>\n", f'?>\n<!DOCTYPE a [<!ENTITY e0 "ha">{names}]>\n', 1)
    write(root / "annotations.xml", text.replace("<name>table", "<name>&e11;"))
    with pytest.raises(PreparationError, match="cannot read .*annotations.xml.* .ParseError"):
        list(open_custom(str(root)).references)
