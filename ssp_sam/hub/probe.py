# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Loads a model repository as somebody without this package does, and writes down what it predicts.

A process of its own runs this file: `python -P probe.py REPOSITORY REQUESTS.json PREDICTIONS.npz`.
"""

import json
import sys

import numpy as np
import torch
from transformers import AutoModel, AutoProcessor, pipeline
from transformers.utils import logging

HIDDEN_PACKAGE = "ssp_sam"


class _Hidden:
    """Makes the installed package as good as absent."""

    @staticmethod
    def find_spec(name: str, path=None, target=None):
        if name.split(".")[0] == HIDDEN_PACKAGE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def predict(segment, model, processor, requests: list[dict]) -> dict[str, np.ndarray]:
    """
    Returns what a model predicts, as arrays that can be stored and compared: for each request, a dict with `image`, a
    file, and `text`, a list of expressions, masks at image size, scores, boxes (-1 where nothing is meant), and
    low-resolution logits. Model and processor are loaded apart from the pipeline or taken from it.
    """
    found = {}
    for number, request in enumerate(requests):
        results = segment(request["image"], request["text"])
        inputs = processor(images=request["image"], text=request["text"])
        with torch.no_grad():
            logits = model(**inputs).pred_masks
        boxes = [list((result["box"] or dict.fromkeys("abcd", -1)).values()) for result in results]
        found[f"masks of request {number}"] = np.stack([np.asarray(result["mask"]) for result in results])
        found[f"scores of request {number}"] = np.array([result["score"] for result in results])
        found[f"boxes of request {number}"] = np.array(boxes)
        found[f"logits of request {number}"] = logits.float().numpy()
    return found


def main(repository: str, requests_file: str, predictions_file: str):
    """Segments what the requests ask for with the code of the repository alone."""
    sys.meta_path.insert(0, _Hidden())
    logging.disable_progress_bar()
    segment = pipeline(model=repository, trust_remote_code=True, device="cpu")
    model = AutoModel.from_pretrained(repository, trust_remote_code=True, dtype=segment.model.dtype).eval()
    processor = AutoProcessor.from_pretrained(repository, trust_remote_code=True)
    with open(requests_file, encoding="utf-8") as file:
        requests = json.load(file)
    np.savez(predictions_file, **predict(segment, model, processor, requests))


if __name__ == "__main__":
    main(*sys.argv[1:])
