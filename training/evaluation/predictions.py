# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Predictions on disk: a JSON object with `info` and, one a line, `predictions` whose masks are COCO run lengths.

A prediction is found by `ref_id` and `sentence`. Those of this library have the keys of
`evaluation_protocols.prediction_record`. Those of another model need `ref_id` and `segmentation` alone: `sentence` is 0
when left out, a `segmentation` of null is a missing prediction, boxes and scores that are not there are not measured,
and the square of the original protocol is made from the mask at the picture's size.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..data.masks import area

FORMAT = "ssp-sam predictions, version 1"


class PredictionWriter:
    """
    Writes predictions as they come, aside first; the file gets its name when it is complete.

    Args:
        path: File to write.
        info: What is to be known of model, settings and data.
    """

    def __init__(self, path: str | Path, info: dict[str, Any]):
        self.path, self.info = Path(path), info
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._aside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        self._stream = open(self._aside, "w", encoding="utf-8")  # noqa: SIM115 (closed by `close` or `discard`)
        self._stream.write('{"predictions": [')
        self._separator = "\n"

    def write(self, predictions: Iterable[dict[str, Any]]):
        """Appends predictions."""
        for prediction in predictions:
            self._stream.write(self._separator + json.dumps(prediction, ensure_ascii=False))
            self._separator = ",\n"

    def close(self, **more_info):
        """Adds what only the end knows to `info`, ends the file and gives it its name."""
        info = {"format": FORMAT, **self.info, **more_info}
        self._stream.write('\n],\n"info": ' + json.dumps(info, ensure_ascii=False, indent=1) + "}\n")
        self._stream.close()
        os.replace(self._aside, self.path)

    def discard(self):
        """Removes what was written so far, if it is not complete."""
        self._stream.close()
        self._aside.unlink(missing_ok=True)


class SavedPredictions:
    """
    Predictions of a file, found by reference and sentence.

    Args:
        path: A file of `PredictionWriter`, or a JSON list of predictions.

    Raises:
        ValueError: The file cannot be read, or a prediction lacks what is needed, is damaged, or is there twice.
    """

    def __init__(self, path: str | Path):
        self.path = str(path)
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read predictions from {self.path!r}: {error}") from error
        if isinstance(content, list):
            content = {"predictions": content}
        if not isinstance(content, dict) or not isinstance(content.get("predictions"), list):
            raise ValueError(f"{self.path!r} must hold an object with a list 'predictions', or such a list alone")
        info = content.get("info")
        # What others write there is not known to mean the same.
        self.info: dict[str, Any] = info if isinstance(info, dict) and info.get("format") == FORMAT else {}
        self._by_key: dict[tuple[str, int], dict[str, Any]] = {}
        for number, prediction in enumerate(content["predictions"]):
            key = self._key(prediction, number)
            if key in self._by_key:
                raise ValueError(f"{self.path!r} has two predictions for sentence {key[1]} of reference {key[0]!r}")
            self._by_key[key] = prediction
        self.used: set[tuple[str, int]] = set()

    def _key(self, prediction: Any, number: int) -> tuple[str, int]:
        if not isinstance(prediction, dict) or "ref_id" not in prediction or "segmentation" not in prediction:
            shown = json.dumps(prediction)[:80]
            raise ValueError(f"prediction {number} of {self.path!r} needs 'ref_id' and 'segmentation', got {shown}")
        sentence = prediction.get("sentence", 0)
        if not isinstance(sentence, int):
            raise ValueError(f"prediction {number} of {self.path!r} needs a whole number 'sentence', got {sentence!r}")
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
        return str(prediction["ref_id"]), sentence

    def __len__(self) -> int:
        return len(self._by_key)

    def take(self, ref_id: str, sentence: int) -> dict[str, Any] | None:
        """Returns the prediction for a sentence, `None` where there is none or its mask is null."""
        key = (ref_id, sentence)
        prediction = self._by_key.get(key)
        if prediction is None:
            return None
        self.used.add(key)
        return None if prediction["segmentation"] is None else prediction


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


__all__ = ["FORMAT", "PredictionWriter", "SavedPredictions"]
