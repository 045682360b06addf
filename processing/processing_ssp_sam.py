# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Processor of SSP-SAM: images, expressions and clicks in, tensors out, and the way back to masks.

Letters: N images, E expressions, L tokens, K points per expression, S, s and M as in the image processor.
"""

from collections.abc import Mapping
from string import punctuation as PUNCTUATION
from typing import Any, Unpack

import numpy as np
import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import ImageInput
from transformers.processing_utils import ProcessingKwargs, ProcessorMixin
from transformers.utils import logging

from .canvas_geometry import fit_segmenter
from .expressions import align, count_per_image, flatten_text, is_spelled, stack_boxes, stack_masks, stack_points
from .image_inputs import flatten_images
from .image_processing_ssp_sam import SspSamImageProcessor, SspSamImageProcessorKwargs
from .mask_windows import LogitMap
from .post_processing import image_of_each, read_prediction, size_rows
from .prediction_settings import check_settings
from .processor_defaults import image_defaults, text_defaults

logger = logging.get_logger(__name__)


class SspSamProcessorKwargs(ProcessingKwargs, total=False):
    images_kwargs: SspSamImageProcessorKwargs


class SspSamProcessor(ProcessorMixin):
    r"""
    Prepares images, expressions and clicks for [`SspSamModel`], and turns its outputs into masks.

    Args:
        image_processor ([`SspSamImageProcessor`]): Makes the canvases and labels.
        tokenizer (`PreTrainedTokenizerBase`): That of the text tower.
        expression_template (`str`, defaults to `"{}"`): What an expression is put into; the paper's is `"{}."`.
        max_expression_length (`int`, *optional*):
            Tokens, special ones included, after which an expression is cut off; the tokenizer's limit by default.
        lowercase (`bool`, defaults to `True`): Whether expressions are lower-cased.
        expression_padding (`bool` or `str`, defaults to `True`):
            How a batch of expressions is padded; `"max_length"` always pads to `max_expression_length`.
        pad_token_id (`int`, *optional*):
            Id that stands in padding, where it is not the tokenizer's: 0 for the original's CLIP text tower.
        mask_threshold (`float`, defaults to 0.5): Probability above which a pixel belongs to the mask.
        no_target_threshold (`float`, defaults to 0.5): Probability of no target above which the mask is emptied.
        min_mask_pixels (`int`, defaults to 0):
            Masks of fewer image pixels mean "no target", as an empty mask always does; the paper's rule is 50.
        score_temperature, score_bias (`float`, default to 1 and 0):
            Calibrate the confidence in a mask; fitted on validation data.

    Source: SSP-SAM (arXiv 2603.18086), preprocessing; the no-target score is this library's.
    """

    valid_processor_kwargs = SspSamProcessorKwargs
    images_kwargs = {"return_tensors": "pt"}
    point_pad_value = -10

    def __init__(
        self,
        image_processor,
        tokenizer,
        expression_template: str = "{}",
        max_expression_length: int | None = None,
        lowercase: bool = True,
        expression_padding: bool | str = True,
        pad_token_id: int | None = None,
        mask_threshold: float = 0.5,
        no_target_threshold: float = 0.5,
        min_mask_pixels: int = 0,
        score_temperature: float = 1.0,
        score_bias: float = 0.0,
    ):
        if expression_template.count("{}") != 1:
            raise ValueError(f"expression_template must contain {{}} once, got {expression_template!r}")
        check_settings(
            mask_threshold=mask_threshold,
            no_target_threshold=no_target_threshold,
            min_mask_pixels=min_mask_pixels,
            score_temperature=score_temperature,
            score_bias=score_bias,
        )
        self.expression_template = expression_template
        self.max_expression_length = max_expression_length
        self.lowercase = lowercase
        self.expression_padding = expression_padding
        self.pad_token_id = pad_token_id
        self.mask_threshold = mask_threshold
        self.no_target_threshold = no_target_threshold
        self.min_mask_pixels = min_mask_pixels
        self.score_temperature = score_temperature
        self.score_bias = score_bias
        super().__init__(image_processor, tokenizer)

    @classmethod
    def from_model_config(cls, config, tokenizer, **kwargs) -> "SspSamProcessor":
        """Builds the processor whose sizes, padding and thresholds fit a model.

        Args:
            config ([`SspSamConfig`]): The model's configuration.
            tokenizer (`PreTrainedTokenizerBase`): That of its text tower.
            kwargs: Arguments of [`SspSamProcessor`] that go before what the configuration says.

        Returns:
            [`SspSamProcessor`]: With SigLIP's normalisation of the semantic canvas where that tower is SigLIP's; with
            the paper's template and padding to the full length where the text tower is CLIP's (with id 0) or SigLIP's
            (on the right); and with the paper's 50-pixel rule where the model has no no-target head.
        """
        image_processor = SspSamImageProcessor(**image_defaults(config))
        return cls(image_processor, **{**text_defaults(config, tokenizer), **kwargs})

    @property
    def text_kwargs(self) -> dict[str, Any]:
        """Defaults of tokenization, below what the tokenizer and the caller say."""
        return {"padding": self.expression_padding, "return_token_type_ids": False, "return_tensors": "pt"}

    @property
    def model_input_names(self) -> list[str]:
        """Names of what a call with images and text returns."""
        names = ["input_ids", "attention_mask", "image_index", "pixel_values", "semantic_pixel_values"]
        if self.image_processor.semantic_size is None:
            names.remove("semantic_pixel_values")
        return [*names, "original_sizes", "reshaped_input_sizes"]

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | list[str] | list[list[str]] | None = None,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        input_masks: Any = None,
        segmentation_maps: Any = None,
        boxes: Any = None,
        semantic_offsets: Any = None,
        generator: torch.Generator | None = None,
        **kwargs: Unpack[SspSamProcessorKwargs],
    ) -> BatchFeature:
        r"""
        Prepares images and expressions; either may be left out.

        Args:
            images (*optional*): One image or a list: PIL image, array, tensor, path or URL.
            text (*optional*): For one image an expression or a list of them; for N images N expressions, or N lists.
                What follows is nested like `text`, with a value in place of each expression.
            input_points (*optional*): [[x, y], …] in image pixels, or `None`.
            input_labels (*optional*): 1 (inside) or 0 (outside) per point; all inside when not given.
            input_boxes (*optional*): [x0, y0, x1, y1] in image pixels, for all expressions or none.
            input_masks (*optional*): Low-resolution mask logits for SAM's prompt encoder, for all expressions or none.
            segmentation_maps (*optional*): (height, width) at image size; empty or `None` where nothing is meant.
            boxes (*optional*): [x0, y0, x1, y1] in image pixels, training labels in place of the maps' tight boxes.
            semantic_offsets, generator (*optional*): As in [`SspSamImageProcessor.preprocess`].
            kwargs: `return_tensors` (`"pt"` by default, `"np"` or `None`) and options of tokenizer and image processor.

        Returns:
            [`BatchFeature`] with what [`SspSamImageProcessor.preprocess`] returns for the images, and
            `input_ids` and `attention_mask` (E, L) int64; `image_index` (E,) int64, the image of each expression;
            `input_points` (E, 1, K, 2) float32 and `input_labels` (E, 1, K) int64, padded with -10;
            `input_boxes` (E, 1, 4) float32; points and boxes in pixels of SAM's canvas;
            `input_masks` (E, 1, h, w) float32.

        Raises:
            `ValueError`: If an expression is empty, numbers do not match, or a click lies outside its image.
        """
        prompts = {"points": input_points, "boxes": input_boxes, "masks": input_masks}
        given = [f"input_{name}" for name, value in prompts.items() if value is not None]
        if images is None and text is None:
            raise ValueError("expected images, text or both, got neither")
        if given and (images is None or text is None):
            raise ValueError(f"{' and '.join(given)} must come with images and text, got only one of those")
        if input_labels is not None and input_points is None:
            raise ValueError(f"input_labels must come with input_points, got only {input_labels!r}")

        # 1. Sort the options.
        merged = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        tensor_types = [merged[kind].pop("return_tensors", None) for kind in ("images_kwargs", "text_kwargs")]
        data: dict[str, Any] = {}

        # 2. Expressions.
        images = None if images is None else flatten_images(images)
        if text is not None:
            expressions = flatten_text(text)
            if not expressions:
                raise ValueError(f"expected at least one expression, got {text!r}")
            counts = [] if images is None else count_per_image(text, len(images))
            data.update(self._tokenize(expressions, **merged["text_kwargs"]))

        # 3. Images and labels.
        if images is not None:
            labels = {"segmentation_maps": segmentation_maps, "boxes": boxes}
            if text is not None:
                data["image_index"] = np.repeat(np.arange(len(images)), counts)
                labels = {name: align(values, text, name) for name, values in labels.items() if values is not None}
            data.update(
                self.image_processor(
                    images,
                    **labels,
                    image_index=data.get("image_index"),
                    semantic_offsets=semantic_offsets,
                    generator=generator,
                    **merged["images_kwargs"],
                )
            )

        # 4. Clicks, boxes and masks beside the words.
        if given:
            data.update(self._spatial_prompts(prompts, input_labels, text, data))
        data = {name: value for name, value in data.items() if value is not None}
        return BatchFeature(data, tensor_type=tensor_types[text is not None])

    def _spatial_prompts(self, prompts: dict[str, Any], labels: Any, text: Any, data: dict[str, Any]) -> dict[str, Any]:
        # What `text` is nested like, one row per expression, from pixels of the images to those of SAM's canvas.
        prompts = {name: align(values, text, f"input_{name}") for name, values in prompts.items()}
        where = (data["image_index"], data["original_sizes"].tolist(), data["reshaped_input_sizes"].tolist())
        point_labels = align(labels, text, "input_labels")
        placed = stack_points(prompts["points"], point_labels, *where, self.point_pad_value)
        boxes, masks = stack_boxes(prompts["boxes"], *where), stack_masks(prompts["masks"])
        return {**placed, "input_boxes": boxes, "input_masks": masks}

    def _tokenize(
        self, expressions: list[tuple[str, str]], *, padding, truncation=True, max_length=None, **kwargs
    ) -> dict[str, Any]:
        # Lengths are read before anything is cut off, so that cutting can be announced.
        wanted = {name: kwargs.pop(name, None) for name in ("pad_to_multiple_of", "padding_side")}
        keep_mask = kwargs.pop("return_attention_mask", None) is not False
        kwargs = {**kwargs, "return_attention_mask": True, "verbose": False}
        limit = max_length or self.max_expression_length or self.tokenizer.model_max_length
        texts = [self.format_expression(expression) for _, expression in expressions]
        encoded = self.tokenizer(texts, padding=False, truncation=False, **kwargs)
        lengths = [len(ids) for ids in encoded["input_ids"]]
        if truncation is not False and max(lengths) > limit:
            for (_, text), length in zip(expressions, lengths, strict=True):
                if length > limit:
                    logger.warning(f"{text[:40]!r}… has {length} tokens, more than {limit}; its end is cut off")
            encoded = self.tokenizer(texts, padding=False, truncation=True, max_length=limit, **kwargs)
            if self.tokenizer.is_fast:  # it would keep the limit, and be saved with it
                self.tokenizer.backend_tokenizer.no_truncation()
        padded = self.tokenizer.pad(encoded, padding=padding, max_length=limit, verbose=False, **wanted)
        if self.pad_token_id is not None:
            padded["input_ids"] = [
                [token if kept else self.pad_token_id for token, kept in zip(ids, mask, strict=True)]
                for ids, mask in zip(padded["input_ids"], padded["attention_mask"], strict=True)
            ]
        return {name: value for name, value in padded.items() if keep_mask or name != "attention_mask"}

    def format_expression(self, expression: str) -> str:
        """Returns an expression as the tokenizer reads it: in one line, in the template, lower-cased if wanted."""
        expression = " ".join(expression.split())
        return self.expression_template.replace("{}", expression.lower() if self.lowercase else expression)

    def unknown_words(self, expression: str) -> list[str]:
        """
        Returns the words of an expression that the tokenizer does not know: for which it has its unknown token, or
        which it spells letter by letter. Each comes once, as written, without punctuation around it.
        """
        words = [word.strip(PUNCTUATION) for word in expression.split()]
        words = [word for word in dict.fromkeys(words) if word]
        if not words:
            return []
        read = [word.lower() if self.lowercase else word for word in words]
        ids = self.tokenizer(read, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
        unknown = self.tokenizer.unk_token_id
        return [word for word, own in zip(words, ids, strict=True) if unknown in own or is_spelled(word, len(own))]

    def post_process_referring_segmentation(
        self,
        outputs: Any,
        original_sizes: Any,
        image_index: Any = None,
        reshaped_input_sizes: Any = None,
        mask_threshold: float | None = None,
        no_target_threshold: float | None = None,
        min_mask_pixels: int | None = None,
        semantic_offsets: Any = None,
        clicked: Any = None,
        windows: bool = False,
    ) -> list[dict[str, Any]]:
        r"""
        Turns the outputs of [`SspSamModel`] into one prediction per expression.

        Let p be the sigmoid of the no-target logit (0 without such a head), f the mean probability of the pixels above
        `mask_threshold` (of the best pixel, where there is none) and
        c = sigmoid(logit(f) / `score_temperature` + `score_bias`), the confidence in the mask. Nothing is meant if
        p > `no_target_threshold`, or if the mask is empty or has fewer than `min_mask_pixels` pixels. `score` is the
        probability that the prediction is right: (1 - p) c for a mask; p where the head says that nothing is meant;
        1 - (1 - p) c where the pixels say so. It is calibrated as far as temperature and bias are fitted.

        Args:
            outputs ([`SspSamOutput`] or `dict`): `pred_masks` (E, 1, h, w) logits; `pred_boxes` (E, 4),
                (cx, cy, w, h) in fractions of the box canvas, and `no_target_logits` (E,), each or both None.
            original_sizes: (N, 2), height and width of each image, as the processor returned them.
            image_index (*optional*): (E,), the image of each expression; one expression per image, or all on a single
                image, when not given.
            reshaped_input_sizes (*optional*): (N, 2), derived from `original_sizes` when not given.
            mask_threshold, no_target_threshold, min_mask_pixels (*optional*): In place of the processor's own.
            semantic_offsets (*optional*): (N, 2), where the image was not centred on the semantic canvas.
            clicked (*optional*): (E,) bool, the expressions that came with points or boxes. Their mask follows these,
                but the box head reads the words alone, so that their box is the one around the mask.
            windows (`bool`, defaults to `False`): Whether `mask` is a `MaskWindow`, which is small where the mask is.

        Returns:
            `list[dict]`: Per expression `mask` (H, W) bool at image resolution, all False for no target; `score` float
            in 0..1; `box_xyxy` four floats in image pixels, from the box head, or tight around the mask where that
            gives no box of a pixel's size, None for no target; `no_target` bool.

        Raises:
            `ValueError`: If there are no masks, sizes, `clicked` and expressions do not match, or a threshold is none.
        """
        outputs = outputs if isinstance(outputs, Mapping) else vars(outputs)
        pred_masks, pred_boxes = outputs.get("pred_masks"), outputs.get("pred_boxes")
        if pred_masks is None:
            raise ValueError("expected outputs with pred_masks, got none; a box-only forward has no masks to read")
        original_sizes = size_rows(original_sizes)
        image_index = image_of_each(image_index, len(pred_masks), len(original_sizes))
        canvas_hw = (self.image_processor.pad_size.height, self.image_processor.pad_size.width)
        reshaped, offsets = size_rows(reshaped_input_sizes), size_rows(semantic_offsets)
        settings = {"mask_threshold": mask_threshold, "no_target_threshold": no_target_threshold}
        settings |= {"min_mask_pixels": min_mask_pixels, "score_temperature": None, "score_bias": None}
        settings = {name: getattr(self, name) if value is None else value for name, value in settings.items()}
        settings = check_settings(**settings)
        no_target = outputs.get("no_target_logits")
        no_target = None if no_target is None else no_target.detach().float().sigmoid().flatten().tolist()
        boxes = None if pred_boxes is None else pred_boxes.detach().float().tolist()
        clicked = [False] * len(pred_masks) if clicked is None else [bool(value) for value in clicked]
        if len(clicked) != len(pred_masks):
            raise ValueError(f"expected clicked for each of {len(pred_masks)} expressions, got {len(clicked)} values")

        predictions = []
        for row, image in enumerate(image_index):
            size_hw = original_sizes[image]
            resized_hw = reshaped[image] if reshaped else fit_segmenter(size_hw, self.image_processor.size.longest_edge)
            logits = LogitMap(pred_masks[row, 0].detach().float(), canvas_hw, resized_hw, size_hw)
            prediction = read_prediction(
                logits,
                no_target[row] if no_target else None,
                boxes[row] if boxes and not clicked[row] else None,
                self.image_processor.box_placement(size_hw, offsets[image] if offsets else None),
                **settings,
            )
            if not windows:
                prediction["mask"] = torch.from_numpy(prediction["mask"].inside()).to(pred_masks.device)
            predictions.append(prediction)
        return predictions


__all__ = ["SspSamProcessor"]
