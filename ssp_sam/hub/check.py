# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Checks an exported repository: loaded without this package, it must predict as the model that was exported."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import pipeline

from ..modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline
from . import probe
from .samples import Sample

SYNTHETIC_EXPRESSIONS = ("the red square", "the thing on the left", "everything")
# Scores and logits are rounded differently where threads divide the work differently, and with them the pixels beside a
# threshold.
TOLERANCE, PIXEL_FRACTION, BOX_PIXELS = 1e-4, 1e-3, 1


def check_export(folder: str | os.PathLike, source: str | os.PathLike, samples: Sequence[Sample] = ()) -> str:
    """
    Loads an exported folder in a process without this package, compares its predictions with those of its source, on a
    generated image and on samples, and says in one line what was compared.

    Raises:
        ValueError: If the folder cannot be loaded, or predicts differently.
    """
    folder = Path(folder).resolve()
    segment = pipeline(
        "referring-segmentation",
        model=os.fspath(source),
        pipeline_class=ReferringSegmentationPipeline,
        device="cpu",
    )
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "generated.png"
        _synthetic_image().save(image)
        pairs = [(image, SYNTHETIC_EXPRESSIONS), *((sample.image, sample.expressions) for sample in samples)]
        requests = [{"image": str(Path(path).resolve()), "text": list(text)} for path, text in pairs]
        expected = probe.predict(segment, segment.model, segment.processor, requests)
        loaded_back = _predict_without_package(folder, requests, Path(scratch))
    for name, value in expected.items():
        if not _agree(name, value, loaded_back[name]):
            raise ValueError(f"the {name} differ between {os.fspath(source)!r} and its export {str(folder)!r}")
    compared = sum(len(request["text"]) for request in requests)
    return f"loaded without ssp-sam: predictions for {compared} expressions equal those of the model"


def _predict_without_package(folder: Path, requests: list[dict], scratch: Path) -> dict[str, np.ndarray]:
    requests_file, predictions_file = scratch / "requests.json", scratch / "predictions.npz"
    requests_file.write_text(json.dumps(requests), "utf-8")
    # Neither the Hub nor code that was loaded from an earlier export may stand in for what is missing. In UTF-8, since
    # the library of tokenizers opens no other names.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_MODULES_CACHE": str(scratch / "modules"), "PYTHONUTF8": "1"}
    # Without -P the folder of the script, with this package's layers in it, would be first on the path.
    command = [sys.executable, "-P", probe.__file__, str(folder), str(requests_file), str(predictions_file)]
    done = subprocess.run(
        command, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise ValueError(f"the export {str(folder)!r} cannot be used without this package: {lines[-1]}")
    with np.load(predictions_file) as stored:
        return dict(stored)


def _agree(name: str, one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    if name.startswith("masks"):
        return bool((one != other).mean() <= PIXEL_FRACTION)
    return np.allclose(one, other, rtol=TOLERANCE, atol=BOX_PIXELS if name.startswith("boxes") else TOLERANCE)


def _synthetic_image() -> Image.Image:
    """Coloured rectangles on a slope of grey; neither square nor a multiple of anything."""
    height, width = 90, 131
    pixels = np.repeat(np.linspace(60, 200, width, dtype=np.uint8)[None, :, None], 3, axis=2).repeat(height, axis=0)
    pixels[20:60, 15:55] = (220, 30, 30)
    pixels[40:80, 80:110] = (30, 60, 220)
    return Image.fromarray(pixels)
