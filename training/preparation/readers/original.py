# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads the annotation files of the original SSP-SAM project, which are those of SimREC, and its pre-training merge.

`anns/<dataset>.json` is a dict of splits, each a list of `iid`, `bbox`, `cat_id`, `refs` (sentences) and `mask_id`; the
masks are arrays `masks/<dataset>/<mask_id>.npy`. Boxes are left, top, width, height, except those of gRefCOCO,
PhraseCut and the merge, which are left, top, right, bottom. Of validation and test splits each entry has one sentence;
entries of one mask are one reference here.

Source: https://github.com/WayneTomas/SSP-SAM
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from .images import coco_pictures, image_number, picture_key, saiapr_pictures, visual_genome_pictures
from .records import (
    BadRecord,
    PreparationError,
    RawBenchmark,
    RawObject,
    RawReference,
    as_list,
    box_from_xywh,
    box_from_xyxy,
    identifier,
    sentences_of,
    take,
)
from .streamed_json import stream_items

MASK_FOLDERS = {
    "refcoco": "refcoco",
    "refcoco+": "refcoco+",
    "refcocog_umd": "refcocog_umd",
    "refcocog_google": "refcocog_google",
    "refclef": "refclef",
    "grefcoco": "grefcoco",
    "phrase_cut": "phrase_cut_mask",
}
XYXY = ("grefcoco", "phrase_cut", "merge")
MAX_WORDS = 40  # longer sentences of the merge are dropped, as the original drops them


def find_annotations(place: Path) -> Path:
    """
    Returns the annotation file, given itself or a folder that holds just one.

    Raises:
        PreparationError: There is none, there are several, or it has another name than the original's files.
    """
    known = (*MASK_FOLDERS, "merge")
    files = [place] if place.is_file() else sorted(place.glob("*.json")) if place.is_dir() else []
    files = [path for path in files if path.stem in known]
    if len(files) != 1:
        there = ", ".join(path.name for path in files) or "none"
        raise PreparationError(
            f"--annotations must name one of {', '.join(f'{name}.json' for name in known)}; in {str(place)!r}: {there}"
        )
    return files[0]


def read_original(path: Path, masks: Path | None = None, splits: Sequence[str] | None = None) -> RawBenchmark:
    """
    Opens one of the original's files with masks.

    Args:
        path: What `find_annotations` returned.
        masks: Folder of this dataset's masks, or the one above it; `masks` beside `anns` when not given.
        splits: The splits wanted, all when not given.

    Raises:
        PreparationError: The file is damaged, or there are no masks.
    """
    dataset = path.stem
    if dataset == "merge":
        raise PreparationError("merge.json has boxes alone: prepare it as the benchmark 'merge'")
    folders = [masks] if masks is not None else [path.parent.parent / "masks", path.parent.parent.parent / "masks"]
    candidates = [place for folder in folders for place in (folder / MASK_FOLDERS[dataset], folder)]
    folder = next((place for place in candidates if place.is_dir()), None)
    if folder is None:
        raise PreparationError(f"no folder of masks for {path.name}: looked for {str(candidates[0])!r}; see --masks")

    def references() -> Iterator[RawReference | BadRecord]:
        for split, entries in _by_split(path, splits):
            yield from _grouped(dataset, path.name, split, entries, folder)

    return RawBenchmark(name=f"original_{dataset}", references=references(), files=[path])


def read_merge(
    path: Path,
    held_out: Collection[str],
    visual_genome_to_coco: dict[str, str],
    splits: Sequence[str] | None = None,
) -> RawBenchmark:
    """
    Opens the merge for box training, without pictures of any validation or test split and without long sentences.

    Args:
        path: `merge.json`.
        held_out: Pictures to leave out, as `picture_identity.picture_key` names them.
        visual_genome_to_coco: COCO's id of pictures of Visual Genome, where they have one.
        splits: The splits wanted, all when not given.
    """
    notes: Counter = Counter()

    def references() -> Iterator[RawReference | BadRecord]:
        index = -1
        for split, entries in _by_split(path, splits):
            for entry in entries:
                index += 1
                try:
                    reference = _merge_reference(entry, split, index, path.name)
                except BadRecord as bad:
                    yield BadRecord(bad.reason, path.name, index, split)
                    continue
                key = picture_key(reference.source, reference.image_id, visual_genome_to_coco)
                short = [text for text in reference.expressions if len(text.split(" ")) <= MAX_WORDS]
                notes["long_sentences_dropped"] += len(reference.expressions) - len(short)
                if split == "train" and key in held_out:
                    notes["references_of_held_out_pictures_dropped"] += 1
                elif short:
                    reference.expressions = short
                    yield reference
                else:
                    notes["references_with_long_sentences_alone_dropped"] += 1

    return RawBenchmark(name="merge", references=references(), files=[path], notes=notes)


def _by_split(path: Path, splits: Sequence[str] | None) -> Iterator[tuple[str, Iterator[Any]]]:
    """Each split wanted with its entries, which must be used up before the next."""
    for split, items in groupby(_checked_items(path), key=lambda item: item[0]):
        if splits is None or split in splits:
            yield split, (entry for _, entry in items)


def _checked_items(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        for split, entry in stream_items(path):
            if split is None:
                raise PreparationError(f"{str(path)!r} must hold splits by name, it is a list")
            yield split, entry
    except PreparationError:
        raise
    except ValueError as error:
        raise PreparationError(str(error)) from error


def _grouped(
    dataset: str, origin: str, split: str, entries: Iterator[Any], folder: Path
) -> Iterator[RawReference | BadRecord]:
    """One reference per mask, in the order of the first entry of each."""
    references: dict[str, RawReference | BadRecord] = {}
    for index, entry in enumerate(entries):
        try:
            reference = _reference(dataset, entry, split, index, origin, folder)
        except BadRecord as bad:
            references[f"bad {index}"] = BadRecord(bad.reason, origin, index, split)
            continue
        first = references.setdefault(reference.ref_id, reference)
        if first is reference or isinstance(first, BadRecord):
            continue
        if first.image_id != reference.image_id:
            reason = f"mask {reference.ref_id} belongs to image {first.image_id} and to image {reference.image_id}"
            references[f"bad {index}"] = BadRecord(reason, origin, index, split)
            continue
        first.expressions += reference.expressions
    yield from references.values()


def _reference(dataset: str, entry: Any, split: str, index: int, origin: str, folder: Path) -> RawReference:
    mask_id = identifier(take(entry, "mask_id", int | str, "an id"))
    if "/" in mask_id or "\\" in mask_id or mask_id in (".", ".."):
        raise BadRecord(f"the mask id {mask_id!r} leads out of the folder of masks")
    image_id = identifier(take(entry, "iid", int | str, "an id"))
    if dataset == "phrase_cut":
        in_folder = str(entry.get("img_folder") or "VG_100K")
        pictures = (f"{in_folder}/{image_id}.jpg", *visual_genome_pictures(image_id))
    else:
        pictures = saiapr_pictures(image_id) if dataset == "refclef" else coco_pictures(image_id)
    no_target = dataset == "grefcoco" and as_list(entry.get("cat_id")) == [-1]
    box = (box_from_xyxy if dataset in XYXY else box_from_xywh)(entry.get("bbox"))
    mask = RawObject(ann_id=mask_id, mask_file=str(folder / f"{mask_id}.npy"), box_xyxy=box)
    return RawReference(
        index=index,
        origin=origin,
        split=split,
        ref_id=mask_id,
        image_id=image_id,
        pictures=pictures,
        expressions=sentences_of(entry.get("refs")),
        objects=[] if no_target else [mask],
        source=f"original_{dataset}",
    )


def _merge_reference(entry: Any, split: str, index: int, origin: str) -> RawReference:
    source = take(entry, "data_source", str, "text")
    name = identifier(take(entry, "iid", int | str, "a file name"))
    number = image_number(name)
    places = {
        "coco": coco_pictures(number),
        "flickr": (f"flickr/{name}", name, f"flickr30k-images/{name}", f"Flickr30k/flickr30k-images/{name}"),
        "vg": (f"VG/{name}", name, *visual_genome_pictures(number)),
        "referit": (f"referit/images/{name}", f"refclef/{name}", *saiapr_pictures(number, name)),
    }
    if source not in places:
        raise BadRecord(f"the source must be one of {', '.join(places)}, got {source!r}")
    return RawReference(
        index=index,
        origin=origin,
        split=split,
        ref_id=str(index),
        image_id=number,
        pictures=places[source],
        expressions=sentences_of(entry.get("refs")),
        objects=[RawObject(ann_id=str(index), box_xyxy=box_from_xyxy(entry.get("bbox")))],
        source=source,
        boxes_only=True,
    )
