# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What is evaluated: no image, reference or split is taken for another, and what cannot be measured is named."""

import numpy as np
import pytest
from PIL import Image

from ssp_sam.training.data.masks import encode
from ssp_sam.training.evaluation.samples import BenchmarkSamples, SceneSamples, target_groups
from tests.helpers.evaluation import item_of, png, rectangle, reference, write_split
from tests.helpers.models import make_image

MASK = rectangle((30, 40), 3, 2, 13, 12)


def file_of(path, seed: int = 0) -> dict:
    """An image as a prepared benchmark points to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make_image(seed=seed).save(path)
    return {"bytes": None, "path": str(path)}


# ---- identity --------------------------------------------------------------------------------------------------------


def test_references_to_one_image_come_together_whether_it_is_stored_once_or_twice(tmp_path):
    stored = [reference(0, 0, MASK), reference(1, 0, MASK), reference(0, 1)]
    samples = BenchmarkSamples(write_split(tmp_path / "stored", stored), "val")
    assert [[item.ref_id for item in samples[index].items] for index in range(len(samples))] == [
        ["0-0", "0-0", "0-1"],
        ["1-0", "1-0"],
    ]
    copies = [file_of(tmp_path / "a" / "dog.png"), file_of(tmp_path / "b" / "dog.png")]
    rows = [reference(0, number, MASK, image=image) for number, image in enumerate(copies)]
    assert len(BenchmarkSamples(write_split(tmp_path / "copies", rows), "val")) == 1


def test_two_images_of_one_id_are_refused_with_both_files(tmp_path):
    files = [file_of(tmp_path / "cam1" / "0001.png", 0), file_of(tmp_path / "cam2" / "0001.png", 1)]
    rows = [reference(0, number, MASK, image=image) for number, image in enumerate(files)]
    with pytest.raises(ValueError, match=r"images of 'own' have the id 'image 0': '.*cam1.0001.png' and '.*cam2"):
        BenchmarkSamples(write_split(tmp_path / "data", rows), "val")
    rows = [reference(0, number, MASK, image=png(make_image(seed=number))) for number in range(2)]
    with pytest.raises(ValueError, match="have the id 'image 0': 'stored pixels' and 'stored pixels'"):
        BenchmarkSamples(write_split(tmp_path / "stored", rows), "val")


def test_images_of_one_id_in_two_sources_stay_apart(tmp_path):
    rows = [reference(0, 0, MASK), reference(0, 0, MASK, source="other", image=png(make_image(seed=5)))]
    samples = BenchmarkSamples(write_split(tmp_path, rows), "val")
    assert [(samples[index].source, samples[index].image_id) for index in range(2)] == [
        ("own", "image 0"),
        ("other", "image 0"),
    ]
    assert samples[0].image != samples[1].image
    assert samples.shared_ref_ids == {"0-0"}


def test_two_references_of_one_id_are_refused_with_both_rows(tmp_path):
    rows = [reference(0, 0, MASK), reference(1, 0, MASK), reference(2, 0, MASK, ref_id="0-0")]
    with pytest.raises(ValueError, match="rows 0 and 2 of split 'val' in .* are both reference '0-0' of 'own'"):
        BenchmarkSamples(write_split(tmp_path, rows), "val")


def test_images_that_other_splits_hold_too_are_counted(tmp_path):
    write_split(tmp_path, [reference(number, 0, MASK) for number in (1, 2, 3)], "train")
    write_split(tmp_path, [reference(9, 0, MASK)], "testB")
    folder = write_split(tmp_path, [reference(number, 0, MASK) for number in range(3)])
    described = BenchmarkSamples(folder).describe()
    assert described["split"] == "val" and described["images_in_other_splits"] == {"train": 2}
    assert BenchmarkSamples(folder, "testB").describe()["images_in_other_splits"] == {}


def test_a_limit_keeps_the_first_images_with_all_their_references(tmp_path):
    rows = [reference(0, 0, MASK), reference(1, 0, MASK), reference(0, 1)]
    described = BenchmarkSamples(write_split(tmp_path, rows), limit=1).describe()
    assert (described["images"], described["references"], described["expressions"]) == (1, 2, 3)


def test_the_fingerprint_changes_with_words_and_truth():
    mask = rectangle((8, 8), 0, 0, 4, 4)
    items = (item_of(mask), item_of(mask, 1), item_of(~mask), item_of(mask)._replace(expression="a dog"))
    assert len({item.fingerprint("a") for item in items} | {items[0].fingerprint("b")}) == 5


# ---- images and masks that cannot be used ----------------------------------------------------------------------------


def test_images_are_read_upright_as_masks_lie_on_them(tmp_path):
    image, exif = make_image(), Image.Exif()
    exif[0x0112] = 3  # turned upside down
    read = BenchmarkSamples(write_split(tmp_path, [reference(0, 0, MASK, image=png(image, exif=exif))]))[0].image
    assert np.array_equal(np.asarray(read), np.asarray(image)[::-1, ::-1])


DAMAGED = {
    "cut off": (png(make_image())["bytes"][:900], "^reference own/val/0-0: could not "),
    "no image": (b"GIF89a, or so it says", "^reference own/val/0-0: could not "),
    "empty": (b"", "^reference own/val/0-0: could not "),
    "of another size": (
        png(Image.new("RGB", (8, 9)))["bytes"],
        r"^reference own/val/0-0: its image .*has height and width \[9, 8\], the row \[30, 40\]",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_image_is_named(name, tmp_path):
    content, message = DAMAGED[name]
    path = tmp_path / "images" / "bad.png"
    path.parent.mkdir()
    path.write_bytes(content)
    for image in ({"bytes": content, "path": None}, {"bytes": None, "path": str(path)}):
        rows = [reference(0, 0, MASK, image=image)]
        folder = write_split(tmp_path / ("pointed" if image["path"] else "stored"), rows)
        with pytest.raises(ValueError, match=message) as error:
            BenchmarkSamples(folder)[0]
        assert (str(path) in str(error.value)) == (image["path"] is not None)


def test_references_without_a_mask_and_masks_of_other_sizes_are_named(tmp_path):
    boxes = [reference(0, 0, no_target=False, box_xyxy=[0.0, 0.0, 5.0, 5.0])]
    with pytest.raises(ValueError, match="reference '0-0' of 'own' has a box but no mask"):
        BenchmarkSamples(write_split(tmp_path / "boxes", boxes))[0]
    with pytest.raises(ValueError, match="reference '0-0' of 'own': masks must have one size"):
        BenchmarkSamples(write_split(tmp_path / "turned", [reference(0, 0, MASK.T)]))[0]


# ---- scenes and groups -----------------------------------------------------------------------------------------------


def test_scenes_are_the_same_for_every_model_and_each_has_an_id():
    first, again = (SceneSamples("test", 3, 2, first_seed=7) for _ in range(2))
    assert [first[index].image_id for index in range(3)] == ["7", "8", "9"]
    assert first[1].items == again.without_image(1).items
    with pytest.raises(ValueError, match="one of train, validation, test, novel, got 'val'"):
        SceneSamples("val", 3, 2)


def test_groups_are_those_of_phrasecut():
    def groups(fraction: float, targets: int) -> list[str]:
        mask = np.zeros(10_000, dtype=bool)
        mask[: round(fraction * 10_000)] = True
        return [group for _, group in target_groups(targets, encode(mask.reshape(100, 100)))]

    assert groups(0.0199, 1) == ["single", "small"]
    assert groups(0.02, 2) == ["multi", "mid"]
    assert groups(0.2001, 5) == ["multi", "many", "large"]
    assert groups(0, 0) == ["none"]
