# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The ways into the library that take an image and words, each as a function of both that says what came back."""

import contextlib
import io
import warnings
from collections.abc import Callable
from typing import Any

from ssp_sam import ReferringSegmentationPipeline
from ssp_sam.cli import explain as explain_command
from ssp_sam.cli import segment as segment_command
from ssp_sam.cli.main import main
from ssp_sam.demo.session import DemoSegmenter, describe_state, draw_state
from ssp_sam.deployment.endpoint_handler import EndpointHandler
from ssp_sam.deployment.numpy_processor import NumpyProcessor, read_rgb
from ssp_sam.explain import draw_explanation, explain

Door = Callable[..., str]


class Doors:
    """
    The doors of one tiny model.

    Args:
        pipeline: the model's.
        folder: where the model was saved.
    """

    def __init__(self, pipeline: ReferringSegmentationPipeline, folder: str):
        self.pipe = pipeline
        self.handler_of_strangers = EndpointHandler(folder)
        self.handler_limits = self.handler_of_strangers.limits
        self.demo_session = DemoSegmenter(pipeline)
        self.numpy_processor = NumpyProcessor(folder)
        self.drawn: set[str] = set()

    def processor(self, image: Any, text: Any, **settings: Any) -> str:
        """Prepares, predicts and reads the prediction, each by its own class."""
        processor = self.pipe.processor
        inputs = processor(images=image, text=text)
        outputs = self.pipe.model(**{name: inputs[name] for name in inputs if not name.endswith("_sizes")})
        predictions = processor.post_process_referring_segmentation(
            outputs, inputs["original_sizes"], inputs["image_index"], **settings
        )
        return described([tuple(reversed(prediction["mask"].shape)) for prediction in predictions])

    def pipeline(self, image: Any, text: Any, **settings: Any) -> str:
        """The pipeline's call."""
        results = self.pipe(image, text, **settings)
        of_a_batch = isinstance(results, list) and bool(results) and isinstance(results[0], list)
        return described_results(results[0] if of_a_batch else results)

    def explain(self, image: Any, text: Any) -> str:
        """`explain`, and its drawing."""
        explanations = explain(self.pipe, image, text)
        draw_explanation(explanations)
        return described_results([explanation.result for explanation in explanations])

    def handler(self, image: Any, text: Any, **settings: Any) -> str:
        """The endpoint handler, with a request as JSON has it; images that are no text come as Python objects."""
        results = self.handler_of_strangers(
            {
                "inputs": {"image": image, "text": text, **settings},
            }
        )
        return described([tuple(self._size(result)) for result in results])

    def demo(self, image: Any, text: str) -> str:
        """The demo's session, with the legend of its page, and the drawing where words are new."""
        state = self.demo_session.segment(self.demo_session.open(image), text)
        describe_state(state)
        if text not in self.drawn:
            self.drawn.add(text)
            draw_state(state)
        return described_results(state.results)

    def onnx(self, image: Any, text: Any, **settings: Any) -> str:
        """The steps of the torch-free script before its graphs."""
        rgb = read_rgb(image)
        canvases = self.numpy_processor.canvases(rgb)
        tokens = self.numpy_processor.tokenize([text] if isinstance(text, str) else text)
        self.numpy_processor.points((rgb.height, rgb.width), **settings)
        return f"{len(canvases)} canvases of {rgb.width} x {rgb.height}, {len(tokens['input_ids'])} rows of tokens"

    def segment(self, image: str, *words: str) -> str:
        """`ssp-sam segment`, in this process."""
        return self._command("segment", image, *words, "--masks-dir", "masks")

    def explain_command(self, image: str, *words: str) -> str:
        """`ssp-sam explain`, in this process."""
        return self._command("explain", image, *words)

    def _command(self, *words: str) -> str:
        # The model stays the same, so that a row does not cost another load of it.
        loaded = {module: module.load_pipeline for module in (segment_command, explain_command)}
        for module in loaded:
            module.load_pipeline = lambda options: self.pipe
        try:
            return command(*words)
        finally:
            for module, load in loaded.items():
                module.load_pipeline = load

    @staticmethod
    def _size(result: dict[str, Any]) -> tuple[int, int]:
        box = result["mask"]
        return tuple(reversed(box["size"])) if isinstance(box, dict) else png_size(box)


def png_size(text: str) -> tuple[int, int]:
    """Width and height of a PNG in base64."""
    import base64

    header = base64.b64decode(text)[16:24]
    return int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")


def command(*words: str) -> str:
    """
    Runs `ssp-sam` in this process, and returns the first line of what it printed.

    Raises:
        ValueError: With what it said, where it ended with 2.
        RuntimeError: Where it ended with another code.
    """
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning on the terminal is no answer
        code = main(words)
    said = err.getvalue().strip()
    if code == 2:
        raise ValueError(said)
    if code != 0:
        raise RuntimeError(f"exit code {code}: {said}")
    return out.getvalue().splitlines()[0] if out.getvalue() else f"exit code 0 {said}".strip()


def described_results(results: Any) -> str:
    """What the pipeline returned for one image, in a few words."""
    return described([result["mask"].size for result in results])


def described(sizes: list[tuple[int, int]]) -> str:
    """Masks of these widths and heights, in a few words."""
    different = list(dict.fromkeys(tuple(map(int, size)) for size in sizes))
    shown = " and ".join(f"{width} x {height}" for width, height in different[:3])
    return f"{len(sizes)} mask{'s' if len(sizes) != 1 else ''}" + (f" of {shown}" if shown else "")
