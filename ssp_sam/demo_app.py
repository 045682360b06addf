"""The page of `ssp-sam demo` and of a Hugging Face Space: picture, expressions, masks, clicks to refine them."""
# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.

import html
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image

from .demo_session import DemoSegmenter, DemoState, describe_state, draw_state
from .modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline
from .training.scenes import generate_scene

logger = logging.getLogger(__name__)

EXAMPLE_PICTURE = Path(__file__).resolve().parents[1] / "examples" / "scene.png"
EXAMPLE_SEEDS = (11, 24)
MAX_FILE_SIZE = "20mb"
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
FAULT = "Something went wrong on this side; the log of the demo says more."
INTRODUCTION = """# SSP-SAM: say it, segment it
Drop a picture, write what to find, and see the mask of each expression, or that nothing there fits it."""
CLICK_HELP = (
    "Click on the picture above to correct the answer: a point on what is meant, beside it, or a box by two corners."
)
EXPLANATION_HELP = (
    "Where the model saw a resemblance to the sentence, what its verification kept of it, and how much each word "
    "counted. For the words alone, without clicks."
)
CSS = """
.gradio-container { width: 100% !important; max-width: 1240px !important; margin: 0 auto !important; }
#introduction h1 { margin-bottom: 0.1em; }
.ssp-notice { padding: 10px 14px; border-radius: 8px; border: 1px solid #d97706; background: #fef3c7; color: #78350f;
  overflow-wrap: anywhere; }
.ssp-legend { list-style: none; margin: 0; padding: 0; }
.ssp-legend li { display: flex; align-items: baseline; gap: 10px; padding: 6px 4px; margin: 0; }
.ssp-legend li + li { border-top: 1px solid var(--border-color-primary); }
.ssp-legend i { flex: none; width: 14px; height: 14px; border: 3px solid; border-radius: 4px; align-self: center; }
.ssp-legend em { flex: 1; min-width: 0; font-style: normal; overflow-wrap: anywhere; }
.ssp-legend small { flex: none; font-size: 0.9em; }
.ssp-legend .missing { opacity: 0.65; }
#answer img { cursor: crosshair; }
#examples td { white-space: pre-line; text-align: left; }
@media (max-width: 700px) { #maps .image-container { overflow-x: auto; } #maps img { min-width: 860px; } }
"""


def build_demo(pipeline: ReferringSegmentationPipeline):
    """
    Returns the page as `gradio.Blocks`.

    Raises:
        ImportError: If gradio is not installed.
    """
    gr = import_gradio()
    segmenter = DemoSegmenter(pipeline)
    steps = DemoSteps(gr, segmenter)
    with gr.Blocks(title="SSP-SAM", analytics_enabled=False) as page:
        state = gr.State(DemoState())
        gr.Markdown(INTRODUCTION, elem_id="introduction")
        with gr.Row(equal_height=False):
            with gr.Column(scale=4, min_width=320):
                picture = _picture_input(gr)(
                    label="Picture",
                    sources=["upload", "clipboard"],
                    buttons=[],
                    height=260,
                    elem_id="picture",
                )
                text = gr.Textbox(
                    label="Expressions, one per line",
                    placeholder="the red car\nthe dog on the left",
                    lines=3,
                    max_lines=8,
                    elem_id="expressions",
                )
                segment = gr.Button("Segment", variant="primary", elem_id="segment")
            with gr.Column(scale=6, min_width=320):
                notice = gr.HTML(visible=False, elem_id="notice")
                with gr.Tabs(selected="answer") as tabs:
                    with gr.Tab("Answer", id="answer"):
                        answer = gr.Image(
                            show_label=False,
                            interactive=False,
                            buttons=["download", "fullscreen"],
                            elem_id="answer",
                        )
                        legend = gr.HTML(elem_id="legend")
                        with gr.Group(visible=False, elem_id="refine") as refine:
                            target = gr.Radio(label="Refine", elem_id="target", info=CLICK_HELP)
                            with gr.Row():
                                kind = gr.Radio(
                                    [("Point on it", "inside"), ("Point beside it", "outside"), ("Box", "box")],
                                    value="inside",
                                    label="A click is",
                                    scale=3,
                                    min_width=300,
                                    elem_id="kind",
                                )
                        with gr.Row(visible=False) as undoing:
                            undo = gr.Button("Undo click", size="sm", elem_id="undo")
                            clear = gr.Button("Clear clicks", size="sm", elem_id="clear")
                    with gr.Tab("What the model saw", id="explanation") as explaining:
                        gr.Markdown(EXPLANATION_HELP)
                        explanation = gr.Image(
                            show_label=False, interactive=False, buttons=["download", "fullscreen"], elem_id="maps"
                        )
        shown = [state, answer, legend, notice, target, refine, undoing]
        gr.Examples(
            find_examples(),
            inputs=[picture, text],
            fn=steps.segment_example,
            outputs=shown,
            run_on_click=True,
            cache_examples=False,
            label="Examples",
            elem_id="examples",
            api_visibility="private",
        )

        def click(state, target, kind, event: gr.SelectData):  # the annotation makes gradio pass the place
            return steps.click(state, target, kind, event.index)

        hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "minimal"}
        asked = [state, picture, text, target]
        gr.on([picture.upload, picture.clear], steps.open, picture, shown, **hidden)
        for event in (segment.click, text.submit):
            event(steps.segment, asked, shown, **hidden).then(lambda: gr.Tabs(selected="answer"), None, tabs, **hidden)
        answer.select(click, [state, target, kind], shown, **hidden)
        undo.click(steps.undo, [state, target], shown, **hidden)
        clear.click(steps.clear, [state, target], shown, **hidden)
        explaining.select(steps.explain, state, [explanation, notice], api_visibility="private")
    return page


def _picture_input(gr):
    """gradio's image input, except that files reach the app as they are: it says itself what is wrong with them."""

    class PictureInput(gr.Image):
        is_template = True  # looks in the page like the class above it

        def preprocess(self, payload):
            return None if payload is None else payload.path

    return PictureInput


class DemoSteps:
    """What happens on each event of the page; wrong input becomes a notice in it."""

    def __init__(self, gr, segmenter: DemoSegmenter):
        self.gr = gr
        self.segmenter = segmenter

    def open(self, path: str | None):
        return self._show(DemoState(), lambda: self.segmenter.open(path), None)

    def segment(self, state: DemoState, path: str | None, text: str | None, target: str | None):
        def step():
            current = state if state.source == path else self.segmenter.open(path)
            return self.segmenter.segment(current, text or "")

        return self._show(state, step, target)

    def segment_example(self, path: str, text: str):
        return self.segment(DemoState(), path, text, None)

    def click(self, state: DemoState, target: str | None, kind: str, shown_xy: tuple[float, float]):
        return self._show(state, lambda: self.segmenter.click(state, target, kind, shown_xy), target)

    def undo(self, state: DemoState, target: str | None):
        return self._show(state, lambda: self.segmenter.undo(state, target), target)

    def clear(self, state: DemoState, target: str | None):
        return self._show(state, lambda: self.segmenter.clear(state), target)

    def explain(self, state: DemoState):
        try:
            return self.segmenter.explain(state), self._notice("")
        except ValueError as error:
            return None, self._notice(str(error))

    def _show(self, state: DemoState, step, target: str | None) -> list[Any]:
        """The page after a step; after a step that failed, as it was, with a notice."""
        message = ""
        try:
            state = step()
        except ValueError as error:
            message = str(error)
        except Exception:
            logger.exception("the demo could not answer")
            message = FAULT
        target = target if target in state.expressions else next(iter(state.expressions), None)
        has_answer = bool(state.results)
        return [
            state,
            draw_state(state),
            describe_state(state),
            self._notice(message),
            self.gr.Radio(choices=state.expressions, value=target),
            self.gr.Group(visible=has_answer),
            self.gr.Row(visible=any(state.marks.values())),
        ]

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
        css=CSS,
        footer_links=[],
        max_file_size=MAX_FILE_SIZE,
        enable_monitoring=False,
        ssr_mode=False,
        **options,
    )
    return address


def import_gradio():
    """
    Returns gradio, told not to report its use to anybody.

    Raises:
        ImportError: If it is not installed.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise ImportError("the demo needs gradio, which is not installed: pip install ssp-sam[demo]") from error
    return gradio


def find_examples() -> list[list[str]]:
    """Pictures with expressions: that of the repository where there is one, and generated scenes."""
    examples = []
    if EXAMPLE_PICTURE.is_file():
        examples.append([str(EXAMPLE_PICTURE), "the red car\nthe dog\nthe penguin"])
    folder = Path(tempfile.mkdtemp(prefix="ssp-sam-demo-"))
    for seed in EXAMPLE_SEEDS:
        scene = generate_scene(seed, split="test", size_hw=(300, 400))
        nouns = [f"the {item.colour} {item.noun}" if item.colour else f"the {item.noun}" for item in scene.objects]
        path = folder / f"scene_{seed}.png"
        Image.fromarray(scene.image).save(path)
        examples.append([str(path), "\n".join(dict.fromkeys(nouns))])
    return examples
