# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Predictions on disk: a JSON object with `info` and, one a line, `predictions` whose masks are COCO run lengths.

A prediction is found by `source`, `ref_id` and `sentence`. Those of this library have the keys of
`protocols.saved_record`. Those of another model need `ref_id` and `segmentation` alone: `source` may be left out
where no two sources share a `ref_id`, `sentence` is 0 when left out, a `segmentation` of null is a missing prediction,
boxes and scores that are not there are not measured, and the square of the original protocol is made from the mask at
the image's size.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..atomic_files import write_aside
from ..data.masks import area
from ..data.prepared import read_rows, shards_by_split
from .samples import EvaluationImage, EvaluationItem

FORMAT = "ssp-sam predictions, version 1"


@contextmanager
def write_predictions(path: str | Path, info: dict[str, Any]) -> Iterator[Callable[[Iterable[dict[str, Any]]], None]]:
    """
    Yields a function that appends predictions to a file, which gets its name when it is complete; `info` is what is to
    be known of model, settings and data.
    """
    with write_aside(path) as aside, open(aside, "w", encoding="utf-8") as stream:
        stream.write('{"predictions": [')
        separator = "\n"

        def write(predictions: Iterable[dict[str, Any]]):
            nonlocal separator
            for prediction in predictions:
                stream.write(separator + json.dumps(prediction, ensure_ascii=False))
                separator = ",\n"

        yield write
        info = {"format": FORMAT, **info}
        stream.write('\n],\n"info": ' + json.dumps(info, ensure_ascii=False, indent=1) + "}\n")


class SavedPredictions:
    """
    Predictions of a file of `write_predictions`, of a JSON list, or of a folder that `ssp-sam annotate` wrote, found by
    source, reference and sentence.

    Raises:
        ValueError: The file cannot be read, or a prediction lacks what is needed, is damaged, or is there twice.
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        try:
            is_folder = Path(path).is_dir()
            content = _annotated(path) if is_folder else json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(f"cannot read predictions from {self.path!r}: {error}") from error
        if isinstance(content, list):
            content = {"predictions": content}
        if not isinstance(content, dict) or not isinstance(content.get("predictions"), list):
            raise ValueError(f"{self.path!r} must hold an object with a list 'predictions', or such a list alone")
        info = content.get("info")
        # What others write there is not known to mean the same.
        self.info: dict[str, Any] = info if isinstance(info, dict) and info.get("format") == FORMAT else {}
        self._by_key: dict[tuple[str | None, str, int], dict[str, Any]] = {}
        for number, prediction in enumerate(content["predictions"]):
            key = self._key(prediction, number)
            if key in self._by_key:
                raise ValueError(f"{self.path!r} has two predictions for sentence {key[2]} of reference {key[1]!r}")
            self._by_key[key] = prediction
        self.used: set[tuple[str | None, str, int]] = set()

    def _key(self, prediction: Any, number: int) -> tuple[str | None, str, int]:
        if not isinstance(prediction, dict) or "ref_id" not in prediction or "segmentation" not in prediction:
            shown = json.dumps(prediction)[:80]
            raise ValueError(f"prediction {number} of {self.path!r} needs 'ref_id' and 'segmentation', got {shown}")
        sentence = prediction.get("sentence", 0)
        if not isinstance(sentence, int):
            raise ValueError(f"prediction {number} of {self.path!r} needs a whole number 'sentence', got {sentence!r}")
        source = prediction.get("source")
        if source is not None and not isinstance(source, str):
            raise ValueError(f"prediction {number} of {self.path!r}: 'source' must be text, got {source!r}")
        for name in ("segmentation", "segmentation_512"):
            if prediction.get(name) is not None:
                try:
                    area(prediction[name])
                except (ValueError, AttributeError) as error:
                    raise ValueError(f"prediction {number} of {self.path!r}, {name!r}: {error}") from error
        for name in ("box_xyxy", "head_box_xyxy"):
            box = prediction.get(name)
            if box is not None and not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
                raise ValueError(f"prediction {number} of {self.path!r}: {name!r} must be 4 numbers, got {box!r}")
        score = prediction.get("score")
        if score is not None and not (_is_number(score) and 0 <= score <= 1):
            raise ValueError(f"prediction {number} of {self.path!r}: 'score' must lie in 0..1, got {score!r}")
        return source, str(prediction["ref_id"]), sentence

    def __len__(self) -> int:
        return len(self._by_key)

    def check_sources(self, shared_ref_ids: set[str]):
        """Raises `ValueError` for a prediction without source whose reference id several sources of the data share."""
        for source, ref_id, _ in self._by_key:
            if source is None and ref_id in shared_ref_ids:
                raise ValueError(
                    f"several sources of the data have a reference {ref_id!r}, and {self.path!r} does not tell which "
                    "one it means; give each prediction its 'source'"
                )

    def take(self, image: EvaluationImage, item: EvaluationItem) -> dict[str, Any] | None:
        """
        Returns the prediction for an expression, `None` for none or a null mask; raises `ValueError` for another
        image's.
        """
        keys = [(source, item.ref_id, item.sentence) for source in (image.source, None)]
        key = next((key for key in keys if key in self._by_key), None)
        if key is None:
            return None
        prediction = self._by_key[key]
        about = prediction.get("image_id")
        if about is not None and str(about) != image.image_id:
            raise ValueError(f"it is about image {about!r}")
        self.used.add(key)
        return None if prediction["segmentation"] is None else prediction


def _annotated(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of an annotation as predictions; their `ref_id` ends in the index of the sentence."""
    columns = ["source", "image_id", "size_hw", "ref_id", "masks", "box_xyxy", "score"]
    predictions = []
    for row in read_rows(itertools.chain(*shards_by_split(folder).values()), columns):
        ref_id, _, sentence = row["ref_id"].rpartition("-")
        height, width = size = row.pop("size_hw")
        masks = row.pop("masks") or [{"size": size, "counts": [height * width]}]
        predictions.append(row | {"ref_id": ref_id, "sentence": int(sentence), "segmentation": masks[0]})
    return predictions


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


__all__ = ["FORMAT", "SavedPredictions", "write_predictions"]
