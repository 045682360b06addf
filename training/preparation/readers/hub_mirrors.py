# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads copies of the benchmarks on the Hugging Face Hub: `jxu124/refcoco*`, `lmms-lab/RefCOCO*`, `moondream/refcoco-m`.

Which of the three layouts a copy has is seen by its columns:

- `jxu124`: no images; `raw_anns` and `raw_image_info` are JSON in text, `sentences` a list. The split "test" of
  RefCOCO and RefCOCO+ is testA, "validation" is val.
- `lmms-lab`: images in the rows; `segmentation` is one flat polygon, `bbox` left, top, width, height, `answer` the
  sentences. Their val mixes splits of UNC or UMD and of Google, and there is no training split.
- `moondream`: images in the rows with `samples`, each with `mask` in run lengths, `bbox` and `sentences`.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

from ...data.prepared import read_rows
from .hub import HUB_ID, fetch_files
from .images import coco_paths, image_number
from .records import (
    BadRecord,
    PreparationError,
    RawBenchmark,
    RawObject,
    RawReference,
    box_from_xywh,
    identifier,
    read_each,
    reading,
    sentences_of,
    size_of,
    take,
    take_identifier,
)

SPLIT_NAMES = {"validation": "val"}
_Make = Callable[..., RawReference]
_SHARD = re.compile(r"(?P<split>[\w+]+?)-\d{5}-of-\d{5}.*")


def read_hub_mirror(source: str, splits: Sequence[str] | None = None) -> RawBenchmark:
    """
    Opens a copy, in a folder with its parquet files, or by its id on the Hub, from where it is then fetched; all splits
    when none are named by the names they have here (`val`, `testA`).

    Raises:
        PreparationError: There are no such files, or their columns are of none of the layouts.
    """
    folder = _fetch(source)
    files = sorted(path for path in folder.rglob("*.parquet") if path.is_file())
    if not files:
        raise PreparationError(f"no parquet files in {str(folder)!r}")
    total = 0
    for path in files:
        with reading(path):
            total += parquet.read_metadata(path).num_rows
    columns = set(parquet.read_schema(files[0]).names)
    layouts = {
        "jxu124": ({"raw_anns", "raw_image_info", "sentences"}, _jxu124),
        "lmms-lab": ({"image", "answer", "segmentation", "bbox"}, _lmms_lab),
        "moondream": ({"image", "samples"}, _moondream),
    }
    layout = next((key for key, (needed, _) in layouts.items() if needed <= columns), None)
    if layout is None:
        raise PreparationError(
            f"{str(folder)!r} is no known copy: it has the columns {', '.join(sorted(columns))}; expected those of "
            f"{', '.join(layouts)}"
        )
    make = layouts[layout][1]
    name = _hub_id(source, folder) or ("moondream/refcoco-m" if layout == "moondream" else f"{layout}/{folder.name}")
    test_is_test_a = layout == "jxu124" and any(
        "testB" in (path.stem, path.parent.name) or "testB-" in path.stem for path in files
    )
    seen: set[tuple[str, str]] = set()
    notes: Counter = Counter()
    licence = f"image: unknown; annotations: {_card_licence(folder)}"

    def of_row(index: int, row: dict[str, Any], path: Path, split: str) -> Iterator[RawReference]:
        position = {"index": index, "origin": path.name, "split": split, "source": name, "licence": licence}
        for reference in make(row, partial(RawReference, **position)):
            if (split, reference.ref_id) in seen:  # where splits of two annotations are mixed
                notes["references_renamed"] += 1
                reference.ref_id += f"#{index}"
            seen.add((split, reference.ref_id))
            yield reference

    def references() -> Iterator[RawReference | BadRecord]:
        for path in files:
            split = _split_of(path)
            split = "testA" if split == "test" and test_is_test_a else split
            if splits is None or split in splits:
                rows = enumerate(read_rows([path], batch_size=32))
                with reading(path):
                    yield from read_each(rows, partial(of_row, path=path, split=split), path.name, split)

    return RawBenchmark(
        name=name,
        references=references(),
        files=files,
        total=None if layout == "moondream" else total,
        notes=notes,
        holds_images=layout != "jxu124",
    )


def _fetch(source: str) -> Path:
    """The folder with the files, fetched where it is not there."""
    if Path(source).is_dir():
        return Path(source)
    if not HUB_ID.fullmatch(source):
        raise PreparationError(f"expected a folder or an id on the Hub such as owner/name, got {source!r}")
    return fetch_files(source, ["*.parquet", "README.md"])


def _hub_id(source: str, folder: Path) -> str | None:
    """The copy's id, if it was given or if the folder is one of the Hub's cache."""
    if not Path(source).is_dir():
        return source
    cached = next((part for part in reversed(folder.resolve().parts) if part.startswith("datasets--")), None)
    return "/".join(cached.split("--")[1:3]) if cached else None


def _split_of(path: Path) -> str:
    """The split of a file by its name, or by its folder's as the Hub converts files."""
    named = _SHARD.fullmatch(path.stem)
    split = named["split"] if named else path.parent.name
    return SPLIT_NAMES.get(split, split)


def _card_licence(folder: Path) -> str:
    card = folder / "README.md"
    text = card.read_text("utf-8", "replace") if card.is_file() else ""
    named = re.search(r"\A---\n.*?^license: *(\S+) *$.*?^---$", text, re.M | re.S)
    return named[1] if named else "unknown"


def _from_json(row: dict[str, Any], name: str) -> dict[str, Any]:
    try:
        value = json.loads(take(row, name, str, "JSON in text"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadRecord(f"the field {name!r} is no JSON ({error})") from error
    if not isinstance(value, dict):
        raise BadRecord(f"the field {name!r} must hold an object, got {value!r}")
    return value


def _jxu124(row: dict[str, Any], reference: _Make) -> Iterator[RawReference]:
    annotation, image = _from_json(row, "raw_anns"), _from_json(row, "raw_image_info")
    ann_id, image_id = take_identifier(row, "ann_id"), take_identifier(row, "image_id")
    file_name = image.get("file_name") or str(row.get("image_path") or "").rsplit("/", 1)[-1] or None
    yield reference(
        ref_id=take_identifier(row, "ref_id"),
        image_id=image_id,
        images=coco_paths(image_id, file_name),
        size_hw=size_of(image),
        expressions=sentences_of(row.get("sentences")),
        objects=[
            RawObject(
                ann_id=ann_id,
                segmentation=annotation.get("segmentation"),
                box_xyxy=box_from_xywh(annotation.get("bbox")),
                is_crowd=bool(annotation.get("iscrowd", 0)),
            )
        ],
    )


def _lmms_lab(row: dict[str, Any], reference: _Make) -> Iterator[RawReference]:
    file_name = take(row, "file_name", str, "text")
    # The file name is that of the reference: COCO's name with a number after it.
    named = re.match(r"(COCO_\w+2014_\d{12})", file_name)
    image_id = image_number(named[1] if named else file_name)
    ref_id = identifier(row.get("question_id") or file_name)
    yield reference(
        ref_id=ref_id,
        image_id=image_id,
        images=(f"{named[1]}.jpg" if named else file_name,),
        image_bytes=_image_bytes(row),
        expressions=sentences_of(row.get("answer")),
        objects=[
            RawObject(
                ann_id=ref_id,
                segmentation=[take(row, "segmentation", list, "a flat polygon")],
                box_xyxy=box_from_xywh(row.get("bbox")),
                is_crowd=bool(row.get("iscrowd")),
            )
        ],
    )


def _moondream(row: dict[str, Any], reference: _Make) -> Iterator[RawReference]:
    file_name = str(row.get("file_name") or f"{row.get('image_id')}.jpg")
    image = _image_bytes(row)
    for sample in take(row, "samples", list, "a list"):
        ann_id = take_identifier(sample, "id")
        box = sample.get("bbox")
        yield reference(
            ref_id=ann_id,
            image_id=take_identifier(row, "image_id"),
            images=(file_name,),
            image_bytes=image,
            category=str(sample.get("category") or ""),
            expressions=sentences_of(sample.get("sentences")),
            objects=[
                RawObject(
                    ann_id=ann_id,
                    segmentation=take(sample, "mask", dict, "run lengths"),
                    box_xyxy=box_from_xywh(box) if box else None,
                )
            ],
        )


def _image_bytes(row: dict[str, Any]) -> bytes:
    image = take(row, "image", dict, "a stored image")
    if not isinstance(image.get("bytes"), bytes):
        raise BadRecord("the row holds no image")
    return image["bytes"]
