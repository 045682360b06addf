# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads the annotation files of the original SSP-SAM project, which are those of SimREC, and its pre-training merge.

`anns/<dataset>.json` is a dict of splits, each a list of `iid`, `bbox`, `cat_id`, `refs` (sentences) and `mask_id`.
Boxes are left, top, width, height, except those of gRefCOCO, PhraseCut and the merge, which are left, top, right,
bottom. Of validation and test splits each entry has one sentence; entries of one mask are one reference here.

The masks are not in these files. They are arrays `masks/<dataset>/<mask_id>.npy`, which a script of the original
project makes from the files of REFER, or they are drawn here from COCO's annotations: an entry's box is that of one
annotation of its image, to the digit, and of gRefCOCO the hull of those of several.

Source: https://github.com/WayneTomas/SSP-SAM, `data_seg/`
"""

import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .coco import CocoInstances, read_instances
from .hub import fetch_files, list_files
from .images import coco_paths, image_number, saiapr_paths, shared_image_name, visual_genome_paths
from .json_files import stream_items
from .records import (
    BadRecord,
    PreparationError,
    RawBenchmark,
    RawObject,
    RawReference,
    as_list,
    box_from_xywh,
    box_from_xyxy,
    read_each,
    sentences_of,
    shortened,
    take,
    take_identifier,
)

MASK_FOLDERS = {
    "refcoco": "refcoco",
    "refcoco+": "refcoco+",
    "refcocog_umd": "refcocog_umd",
    "refcocog_google": "refcocog_google",
    "refclef": "refclef",
    "grefcoco": "grefcoco",
    "phrase_cut": "phrase_cut_mask",
}
KNOWN = (*MASK_FOLDERS, "merge")
XYXY = ("grefcoco", "phrase_cut", "merge")
OF_COCO = ("refcoco", "refcoco+", "refcocog_umd", "refcocog_google", "grefcoco")
SAME_SIDE = 0.01  # pixels by which numbers of one box may differ, as files round them
MAX_COMBINATIONS = 10_000  # of annotations whose hull may be an entry's box
Box = tuple[float, float, float, float]
ObjectsOf = Callable[[dict, RawReference, Box], list[RawObject]]
MAX_WORDS = 40  # longer sentences of the merge are dropped, as the original drops them


def find_annotations(source: Path) -> Path:
    """
    Returns the annotation file, given itself or a folder that holds just one; raises `PreparationError` for none, for
    several, and for another name than those of the original.
    """
    files = [source] if source.is_file() else sorted(source.glob("*.json")) if source.is_dir() else []
    files = [path for path in files if path.stem in KNOWN]
    if len(files) != 1:
        there = ", ".join(path.name for path in files) or "none"
        raise PreparationError(
            f"expected one of {', '.join(f'{name}.json' for name in KNOWN)}; in {str(source)!r}: {there}"
        )
    return files[0]


def fetch_annotations(repo_id: str, dataset: str) -> Path:
    """
    Returns one of the original's annotation files, such as "refcoco", fetched from a repository of the Hub.

    Raises:
        PreparationError: There is no such repository or file, or the Hub cannot be reached.
    """
    name = dataset.rsplit("/", 1)[-1].removesuffix(".json")
    if name not in KNOWN:
        raise PreparationError(f"the file wanted from {repo_id!r} must be one of {', '.join(KNOWN)}, got {dataset!r}")
    kinds = ("model", "dataset")
    folder = fetch_files(repo_id, [f"{name}.json", f"*/{name}.json"], kinds)
    found = sorted(folder.rglob(f"{name}.json"), key=lambda path: ("anns" not in path.parts, str(path)))
    if not found:
        there = [path for path in list_files(repo_id, kinds) if path.endswith(".json")]
        raise PreparationError(f"{repo_id!r} holds no {name}.json; there are {', '.join(there) or 'no .json files'}")
    return found[0]


def read_original(
    path: Path, masks: Path | None = None, coco: Path | None = None, splits: Sequence[str] | None = None
) -> RawBenchmark:
    """
    Opens one of the original's files with masks; all splits when none are named.

    Args:
        masks: Folder of this dataset's masks, or the one above it; `masks` beside `anns` when not given.
        coco: COCO's annotations, `instances_train2014.json`, to draw masks from in place of mask files.

    Raises:
        PreparationError: The file is damaged, or there are no masks.
    """
    dataset = path.stem
    if dataset == "merge":
        raise PreparationError("merge.json has boxes alone: prepare it as the benchmark 'merge'")
    if coco is not None and dataset not in OF_COCO:
        raise PreparationError(f"the images of {dataset} are not COCO's: its masks must be files")
    notes: Counter = Counter()
    if coco is None:
        objects_of: ObjectsOf = partial(_from_mask_file, _mask_folder(path, masks))
    else:
        meant = {str(entry.get("iid")) for _, entry in stream_items(path) if isinstance(entry, dict)}
        instances = read_instances(coco, lambda _, annotation: str(annotation.get("image_id")) in meant)
        objects_of, notes = partial(_from_coco, instances), instances.notes

    def references() -> Iterator[RawReference | BadRecord]:
        for split, entries in _by_split(path, splits):
            yield from _grouped(dataset, path.name, split, entries, objects_of)

    files = [path, *([coco] if coco is not None else [])]
    return RawBenchmark(name=f"original_{dataset}", references=references(), files=files, notes=notes)


def _mask_folder(path: Path, masks: Path | None) -> Path:
    folders = [masks] if masks is not None else [path.parent.parent / "masks", path.parent.parent.parent / "masks"]
    candidates = [place for folder in folders for place in (folder / MASK_FOLDERS[path.stem], folder)]
    found = next((place for place in candidates if place.is_dir()), None)
    if found is None:
        raise PreparationError(
            f"no folder of masks for {path.name}: looked for {str(candidates[0])!r}",
            hint="--masks names it, or --coco-annotations the file to draw masks from",
        )
    return found


def read_merge(
    path: Path,
    held_out: Collection[str],
    visual_genome_to_coco: dict[str, str],
    splits: Sequence[str] | None = None,
) -> RawBenchmark:
    """
    Opens the merge for box training, without long sentences and without images that validation and test splits hold
    out, as `shared_image_name` names them; all splits when none are named.
    """
    notes: Counter = Counter()

    def make(index: int, entry: Any, split: str) -> RawReference | None:
        reference = _merge_reference(entry, split, index, path.name)
        name = shared_image_name(reference.source, reference.image_id, visual_genome_to_coco)
        short = [text for text in reference.expressions if len(text.split(" ")) <= MAX_WORDS]
        notes["long_sentences_dropped"] += len(reference.expressions) - len(short)
        if split == "train" and name in held_out:
            notes["references_of_held_out_images_dropped"] += 1
        elif short:
            reference.expressions = short
            return reference
        else:
            notes["references_with_long_sentences_alone_dropped"] += 1
        return None

    def references() -> Iterator[RawReference | BadRecord]:
        numbers = itertools.count()
        for split, entries in _by_split(path, splits):
            numbered = ((index, entry) for entry, index in zip(entries, numbers))
            yield from read_each(numbered, partial(make, split=split), path.name, split)

    return RawBenchmark(name="merge", references=references(), files=[path], notes=notes)


def _by_split(path: Path, splits: Sequence[str] | None) -> Iterator[tuple[str, Iterator[Any]]]:
    """Each split wanted with its entries, which must be used up before the next."""
    for split, items in itertools.groupby(stream_items(path), key=lambda item: item[0]):
        if split is None:
            raise PreparationError(f"{str(path)!r} must hold splits by name, it is a list")
        if splits is None or split in splits:
            yield split, (entry for _, entry in items)


def _grouped(
    dataset: str, origin: str, split: str, entries: Iterator[Any], objects_of: ObjectsOf
) -> list[RawReference | BadRecord]:
    """One reference per mask, in the order of the first entry of each."""
    references: dict[str, RawReference] = {}

    def make(index: int, entry: Any) -> RawReference | None:
        reference = _reference(dataset, entry, split, index, origin)
        first = references.get(reference.ref_id)
        if first is None:
            box = (box_from_xyxy if dataset in XYXY else box_from_xywh)(entry.get("bbox"))
            if dataset != "grefcoco" or as_list(entry.get("cat_id")) != [-1]:
                reference.objects = objects_of(entry, reference, box)
            references[reference.ref_id] = reference
            return reference
        if first.image_id != reference.image_id:
            raise BadRecord(
                f"mask {reference.ref_id} belongs to image {first.image_id} in record {first.index} and to image "
                f"{reference.image_id} here"
            )
        first.expressions += reference.expressions
        return None

    return list(read_each(enumerate(entries), make, origin, split))


def _reference(dataset: str, entry: Any, split: str, index: int, origin: str) -> RawReference:
    mask_id, image_id = take_identifier(entry, "mask_id"), take_identifier(entry, "iid")
    if dataset == "phrase_cut":
        in_folder = str(entry.get("img_folder") or "VG_100K")
        images = (f"{in_folder}/{image_id}.jpg", *visual_genome_paths(image_id))
    else:
        images = saiapr_paths(image_id) if dataset == "refclef" else coco_paths(image_id)
    return RawReference(
        index=index,
        origin=origin,
        split=split,
        ref_id=mask_id,
        image_id=image_id,
        images=images,
        expressions=sentences_of(entry.get("refs")),
        objects=[],
        source=f"original_{dataset}",
    )


def _from_mask_file(folder: Path, entry: dict, reference: RawReference, box: Box) -> list[RawObject]:
    mask_id = reference.ref_id
    if "/" in mask_id or "\\" in mask_id or mask_id in (".", ".."):
        raise BadRecord(f"the mask id {mask_id!r} leads out of the folder of masks")
    # REFER adds up the polygons of an object, so that values above 1 stand where they overlap.
    return [RawObject(ann_id=mask_id, mask_file=str(folder / f"{mask_id}.npy"), any_value=True, box_xyxy=box)]


def _from_coco(instances: CocoInstances, entry: dict, reference: RawReference, box: Box) -> list[RawObject]:
    """COCO's annotations with that box, or as many as there are categories with that hull."""
    reference.size_hw = instances.size_hw(reference.image_id)
    count = len(as_list(entry.get("cat_id"))) if reference.source.endswith("grefcoco") else 1
    if not count:
        raise BadRecord("it has no category, so that the number of objects is unknown")
    annotations = [item for item in instances.objects_of(reference.image_id) if not item.is_crowd or count == 1]
    found = list(itertools.islice(_with_hull(annotations, count, box), 2))  # a second one says that it is unclear
    if len(found) != 1:
        problem = f"more than one choice of {count} annotations" if found else f"no choice of {count} annotations"
        raise BadRecord(
            f"{problem} of image {reference.image_id} in {instances.origin} has the box {shortened(entry.get('bbox'))}"
        )
    return list(found[0])


def _with_hull(annotations: list[RawObject], count: int, box: Box) -> Iterator[tuple[RawObject, ...]]:
    inside = [
        item
        for item in annotations
        if item.box_xyxy is not None
        and all(item.box_xyxy[side] >= box[side] - SAME_SIDE for side in (0, 1))
        and all(item.box_xyxy[side] <= box[side] + SAME_SIDE for side in (2, 3))
    ]
    for index, items in enumerate(itertools.combinations(inside, count)):
        if index == MAX_COMBINATIONS:
            raise BadRecord(f"the image has too many annotations to find the {count} that are meant")
        sides = list(zip(*(item.box_xyxy for item in items if item.box_xyxy is not None)))
        hull = (min(sides[0]), min(sides[1]), max(sides[2]), max(sides[3]))
        if all(abs(side - given) <= SAME_SIDE for side, given in zip(hull, box)):
            yield items


def _merge_reference(entry: Any, split: str, index: int, origin: str) -> RawReference:
    source = take(entry, "data_source", str, "text")
    name = take_identifier(entry, "iid")
    number = image_number(name)
    paths = {
        "coco": coco_paths(number),
        "flickr": (f"flickr/{name}", name, f"flickr30k-images/{name}", f"Flickr30k/flickr30k-images/{name}"),
        "vg": (f"VG/{name}", name, *visual_genome_paths(number)),
        "referit": (f"referit/images/{name}", f"refclef/{name}", *saiapr_paths(number, name)),
    }
    if source not in paths:
        raise BadRecord(f"the source must be one of {', '.join(paths)}, got {source!r}")
    return RawReference(
        index=index,
        origin=origin,
        split=split,
        ref_id=str(index),
        image_id=f"{source}/{number}",  # collections number their images alike
        images=paths[source],
        expressions=sentences_of(entry.get("refs")),
        objects=[RawObject(ann_id=str(index), box_xyxy=box_from_xyxy(entry.get("bbox")))],
        source=source,
        boxes_only=True,
    )
