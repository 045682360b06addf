# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The page of `ssp-sam demo` and of a Hugging Face Space: image, expressions, masks, clicks to refine them."""

import atexit
import contextlib
import functools
import html
import logging
import os
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from ..modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline
from ..training.atomic_files import claim_folder
from ..training.scenes.generator import generate_scene
from .session import DemoSegmenter, DemoState, describe_model, describe_state, draw_state, save_result

logger = logging.getLogger(__name__)

EXAMPLE_IMAGE = Path(__file__).resolve().parents[2] / "examples" / "scene.png"
EXAMPLE_SEEDS = (11, 24)
MAX_FILE_SIZE = "20mb"
KEPT_SECONDS = (3600, 86400)  # how often files of visitors are looked through, and how old they become
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
FAULT = "Something went wrong on this side; the log of the demo says more."
INTRODUCTION = """# SSP-SAM: say it, segment it
Drop an image, write what to find, and see the mask of each expression, or that nothing there fits it."""
KEYS_HELP = (
    "Keys: **/** write, **Esc** leave the text, **1** to **9** choose the expression that clicks refine, **u** undo, "
    "**c** clear, **+** **-** **0** zoom, **d** dark or light."
)
DOWNLOADS = {"mask": "Download mask", "cutout": "Download cut-out", "json": "Download JSON"}
CLICK_HELP = (
    "Click on the image above to correct the prediction: a point on what is meant, beside it, or a box by two corners."
)
CLICK_KINDS = (("Point on it", "inside"), ("Point beside it", "outside"), ("Box", "box"))
EXPLANATION_HELP = (
    "Where the model saw a resemblance to the sentence, what its verification kept of it, and how much each word "
    "counted. For the words alone, without clicks."
)
_VISITORS = "ssp-sam-demo-"
STYLE, SCRIPT = (Path(__file__).resolve().with_name(name) for name in ("style.css", "page.js"))


def build_demo(pipeline: ReferringSegmentationPipeline):
    """Returns the page as `gradio.Blocks`; raises `ImportError` if gradio is not installed."""
    gr = import_gradio()
    steps = DemoSteps(gr, DemoSegmenter(pipeline))
    with gr.Blocks(title="SSP-SAM", analytics_enabled=False, delete_cache=KEPT_SECONDS) as page:
        # 1. What is seen.
        state = gr.State(DemoState())
        gr.Markdown(INTRODUCTION, elem_id="introduction")
        gr.HTML(describe_model(pipeline), elem_id="model")
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                ask = _lay_out_question(gr)
            with gr.Column(scale=6, min_width=320):
                tell = _lay_out_prediction(gr)
        shown = [state, tell.drawing, tell.legend, tell.notice, tell.target, tell.refine, tell.undoing, tell.saving]
        examples = find_examples(visitors_files())
        # Not `gr.Examples`, which replaces the components it fills.
        choices = gr.Dataset(
            components=[ask.image, ask.text],
            headers=["Image", "Expressions"],
            samples=examples,
            type="index",
            label="Examples",
            elem_id="examples",
        )
        gr.Markdown(KEYS_HELP, elem_id="keys")

        # 2. What happens.
        def click(state, target, kind, event: gr.SelectData):  # the annotation makes gradio pass the position
            return steps.click(state, target, kind, event.index)

        def segment(*asked):
            return [*steps.segment(*asked), gr.Tabs(selected="prediction")]

        def choose(index):
            path, text = examples[index]
            return [path, text, *segment(DemoState(), path, text, None)]

        quiet = {"api_visibility": "private", "show_progress": "minimal"}
        gr.on([ask.image.upload, ask.image.clear], steps.open, ask.image, shown, **quiet)
        asked = [state, ask.image, ask.text, tell.target]
        again = {"trigger_mode": "always_last"}  # words may have changed while an answer was computed
        gr.on([ask.segment.click, ask.text.submit], segment, asked, [*shown, tell.tabs], **again, **quiet)
        choices.click(choose, choices, [ask.image, ask.text, *shown, tell.tabs], **quiet)
        tell.drawing.select(click, [state, tell.target, tell.kind], shown, **quiet)
        tell.undo.click(steps.undo, [state, tell.target], shown, **quiet)
        tell.clear.click(steps.clear, [state, tell.target], shown, **quiet)
        for kind, button in tell.downloads.items():

            def save(state, target, kind=kind):
                return steps.save(state, target, kind)

            button.click(save, [state, tell.target], [tell.file, tell.notice], **quiet).success(
                None, js="() => setTimeout(() => document.querySelector('#file')?.click(), 200)"
            )
        for button, script in tell.scripted:
            button.click(None, js=f"() => {{ {script} }}")
        tell.explaining.select(steps.explain, state, [tell.maps, tell.notice], api_visibility="private")
    return page


def _lay_out_question(gr) -> SimpleNamespace:
    image = gr.Image(
        label="Image",
        type="filepath",
        image_mode=None,
        sources=["upload", "clipboard"],
        buttons=[],
        height=260,
        elem_id="image",
    )
    # Files reach the app as they are, which says itself what is wrong with them. No subclass: gradio would write a file
    # of its signatures beside this one.
    image.preprocess = lambda payload: None if payload is None else payload.path
    text = gr.Textbox(
        label="Expressions, one per line",
        placeholder="the red car\nthe dog on the left",
        lines=3,
        max_lines=8,
        elem_id="expressions",
    )
    segment = gr.Button("Segment", variant="primary", elem_id="segment")
    return SimpleNamespace(image=image, text=text, segment=segment)


def _lay_out_prediction(gr) -> SimpleNamespace:
    tell = SimpleNamespace()
    output: dict[str, Any] = {"show_label": False, "interactive": False, "buttons": ["download", "fullscreen"]}
    tell.notice = gr.HTML(visible=False, elem_id="notice")
    with gr.Tabs(selected="prediction") as tell.tabs:
        with gr.Tab("Prediction", id="prediction"):
            tell.drawing = gr.Image(elem_id="prediction", **output)
            tell.scripted = _lay_out_view(gr)
            tell.legend = gr.HTML(elem_id="legend")
            with gr.Group(visible=False) as tell.refine:
                tell.target = gr.Radio(label="Refine", elem_id="target", info=CLICK_HELP)
                tell.kind = gr.Radio(list(CLICK_KINDS), value="inside", label="A click is", elem_id="kind")
            with gr.Row(visible=False) as tell.undoing:
                tell.undo = gr.Button("Undo click", size="sm", elem_id="undo")
                tell.clear = gr.Button("Clear clicks", size="sm", elem_id="clear")
            with gr.Row(visible=False, elem_id="downloads") as tell.saving:
                tell.downloads = {
                    kind: gr.Button(text, size="sm", min_width=90, elem_id=f"save-{kind}")
                    for kind, text in DOWNLOADS.items()
                }
            tell.file = gr.DownloadButton("Download", visible="hidden", elem_id="file")
        with gr.Tab("What the model saw", id="explanation") as tell.explaining:
            gr.Markdown(EXPLANATION_HELP)
            tell.maps = gr.Image(elem_id="maps", **output)
    return tell


def _lay_out_view(gr) -> list[tuple[Any, str]]:
    """Buttons that change how the page looks, each with its script."""
    looks = (
        ("zoom-out", "Zoom out", "window.sspZoom(1 / 1.5)"),
        ("zoom-in", "Zoom in", "window.sspZoom(1.5)"),
        ("dark", "Dark or light", "window.sspDark()"),
    )
    with gr.Row(elem_id="view"):
        return [(gr.Button(text, size="sm", min_width=90, elem_id=name), script) for name, text, script in looks]


class DemoSteps:
    """What happens on each event of the page; wrong input becomes a notice in it."""

    def __init__(self, gr, segmenter: DemoSegmenter):
        self.gr = gr
        self.segmenter = segmenter

    def open(self, path: str | None):
        return self._show(DemoState(), lambda: self.segmenter.open(path), None)

    def segment(self, state: DemoState, path: str | None, text: str | None, target: str | None):
        def step():
            current = state
            if state.source != path:  # another file, which may still hold the same image
                opened = self.segmenter.open(path)
                current = replace(state, source=path) if opened.image == state.image else opened
            return self.segmenter.segment(current, text or "")

        return self._show(state, step, target)

    def click(self, state: DemoState, target: str | None, kind: str, shown_xy: tuple[float, float]):
        return self._show(state, lambda: self.segmenter.click(state, target, kind, shown_xy), target)

    def undo(self, state: DemoState, target: str | None):
        return self._show(state, lambda: self.segmenter.undo(state, target), target)

    def clear(self, state: DemoState, target: str | None):
        return self._show(state, lambda: self.segmenter.clear(state), target)

    def explain(self, state: DemoState):
        return self._or_notice(lambda: self.segmenter.explain(state))

    def save(self, state: DemoState, target: str | None, kind: str):
        return self._or_notice(lambda: str(save_result(state, target, kind, Path(visitors_files()))))

    def _show(self, state: DemoState, step, target: str | None) -> list[Any]:
        """The page after a step; after a step that failed, as it was, with a notice."""
        message = ""
        try:
            state = step()
        except ValueError as error:
            message = str(error)
        except Exception:
            logger.exception("the demo could not segment")
            message = FAULT
        target = target if target in state.expressions else next(iter(state.expressions), None)
        has_results = bool(state.results)
        return [
            state,
            draw_state(state),
            describe_state(state),
            self._notice(message),
            self.gr.Radio(choices=state.expressions, value=target),
            self.gr.Group(visible=has_results),
            self.gr.Row(visible=any(state.marks.values())),
            self.gr.Row(visible=has_results),
        ]

    def _or_notice(self, step):
        """What a step returns, and no notice; for wrong input nothing, and a notice."""
        try:
            return step(), self._notice("")
        except ValueError as error:
            return None, self._notice(str(error))

    def _notice(self, message: str):
        return self.gr.HTML(f'<div class="ssp-notice" role="alert">{html.escape(message)}</div>', visible=bool(message))


def launch_demo(page, host: str | None = "127.0.0.1", port: int | None = None, **options) -> str:
    """
    Serves the page and returns its address; ends only with the process unless `prevent_thread_lock` is given.

    Args:
        host: address to listen on; None leaves it to gradio's environment variables, as on a Space.
        port: None for the first free one from 7860 on.

    Raises:
        OSError: If the port is taken.
    """
    gr = import_gradio()
    theme = gr.themes.Default(
        primary_hue="blue", neutral_hue="zinc", font=FONTS, font_mono=["ui-monospace", "monospace"]
    )
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        share=False,
        theme=theme,
        css_paths=STYLE,
        js=SCRIPT.read_text("utf-8"),
        footer_links=[],
        max_file_size=MAX_FILE_SIZE,
        enable_monitoring=False,
        ssr_mode=False,
        **options,
    )
    return address


def import_gradio():
    """Returns gradio, told not to report its use to anybody; raises `ImportError` if it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = visitors_files()
    try:
        import gradio
    except ImportError as error:
        raise ImportError("the demo needs gradio, which is not installed: pip install ssp-sam[demo]") from error
    return gradio


@functools.cache
def visitors_files() -> str:
    """
    The folder of what visitors drop and see: no other user can read it, and it is removed when the process ends.

    Those of demos that were killed are removed as well.
    """
    for other in Path(tempfile.gettempdir()).glob(f"{_VISITORS}*"):
        with contextlib.suppress(OSError):  # of another user, or of a demo that runs
            if time.time() - other.stat().st_mtime > 60:  # a newer one may not have been claimed yet
                with claim_folder(other):
                    shutil.rmtree(other)
    kept = contextlib.ExitStack()
    folder = kept.enter_context(tempfile.TemporaryDirectory(prefix=_VISITORS))
    kept.enter_context(claim_folder(folder))
    atexit.register(kept.close)
    return folder


def find_examples(folder: str) -> list[list[str]]:
    """
    Returns images with expressions, put into a folder that gradio may serve from: that of the repository where there is
    one, and generated scenes.
    """
    examples = []
    if EXAMPLE_IMAGE.is_file():
        examples.append([shutil.copyfile(EXAMPLE_IMAGE, f"{folder}/scene.png"), "the red car\nthe dog\nthe penguin"])
    for seed in EXAMPLE_SEEDS:
        scene = generate_scene(seed, split="test", size_hw=(300, 400))
        expressions = [
            f"the {item.colour} {item.noun}" if item.colour else f"the {item.noun}" for item in scene.objects
        ]
        path = Path(folder) / f"scene_{seed}.png"
        Image.fromarray(scene.image).save(path)
        examples.append([str(path), "\n".join(dict.fromkeys(expressions))])
    return examples
