# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The pipeline of the task "referring-segmentation": images and expressions in, masks out."""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from transformers import Pipeline
from transformers.dynamic_module_utils import custom_object_save
from transformers.pipelines.pt_utils import PipelineDataset, PipelineIterator

from ..configuration.hub_fields import IS_REMOTE_CODE, add_pipeline
from ..processing.prediction_settings import check_settings
from ..processing.segmentation_results import as_result
from .embedded_model import EmbeddedModelWarning, embedded_hint, is_embedded
from .quantized_model import check_quantized
from .segmentation_requests import (
    SPATIAL_KEYS,
    TEXT_KEYS,
    as_list,
    as_request,
    as_texts,
    is_text,
    only_known,
    only_read,
    take_one,
    texts_per_image,
)

OUTPUT_KEYS = ("pred_masks", "pred_boxes", "iou_scores", "no_target_logits")
UNUSED_BOX = [0.0, 0.0, 1.0, 1.0]
PAD_LABEL = -10
SETTINGS = ("mask_threshold", "no_target_threshold", "min_mask_pixels", "expression_batch_size")
SINGLE_IMAGE_TYPES = (str, bytes, bytearray, memoryview, os.PathLike, Image.Image, np.ndarray, torch.Tensor)


class ReferringSegmentationPipeline(Pipeline):
    """
    Finds in an image what expressions refer to.

    Example:

    ```python
    >>> from transformers import pipeline
    >>> import ssp_sam

    >>> segment = pipeline("referring-segmentation")
    >>> for result in segment("examples/scene.png", ["the dog", "the red car"]):
    ...     print(result["label"], result["score"], result["box"])
    ```

    What is called a request below is an image together with its expressions: a dict with `image`, with `text` (also
    under the names `expressions` or `expression`; a string or a list of strings) and, optionally, with `input_points`,
    `input_labels` and `input_boxes`. `pipeline(..., compile=True)` compiles the model at its first requests.
    """

    model: Any
    processor: Any
    _load_processor = True
    _load_tokenizer = False
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    has_warned = False  # once per process, of what the embedded checkpoint does not know

    def __init__(self, *args, **kwargs):
        asked_dtype, compiled = kwargs.get("dtype"), kwargs.pop("compile", False)
        kwargs.pop("local_files_only", None)
        _check_loader(kwargs)
        super().__init__(*args, **kwargs)
        if self.model.config.model_type != "ssp_sam":
            raise ValueError(f"expected a model of type 'ssp_sam', got {self.model.config.model_type!r}")
        if self.processor is None:
            raise ValueError("expected a processor beside the model, got None; pass processor=SspSamProcessor(...)")
        asked = {asked_dtype, getattr(self.model, "asked_dtype", None)}
        # `pipeline(…)` hands the precision on to the tokenizer, which could then not be saved.
        for name in ("dtype", "quantization_config"):
            self.processor.tokenizer.init_kwargs.pop(name, None)
        quantization = getattr(self.model.config, "quantization_config", None)
        if quantization is not None:
            check_quantized(self.model, quantization)
        # Checkpoints are often stored in half precision to be small; CPUs compute in single precision.
        elif self.device.type == "cpu" and self.model.dtype == torch.float16 and not asked & {torch.float16, "float16"}:
            self.model.float()
        self.model.eval()
        if compiled:  # what follows the image encoders
            self.model.compile()

    def __call__(self, inputs=None, text=None, **kwargs):
        """
        Segments what each expression refers to. Each image is encoded once, however many expressions it has.

        Args:
            inputs:
                - an image: PIL, a path, a URL, the bytes of a file, an open file, an undecoded image of a dataset, or
                  an array (height, width[, channels]); with `text`;
                - a list of images, an array (N, height, width, channels) or a column of a table, with one expression
                  or one list of expressions per image as `text` (or one string, which then is looked for in every
                  image);
                - a request, or a list of requests;
                - a dataset, a generator or another iterable of requests or, with one `text` for all, of images.
            text (`str`, `list[str]` or `list[list[str]]`, *optional*): Expressions; see above. At most 1,000 an image.
                Columns of strings of numpy, pandas and datasets are lists, too.
            input_points (*optional*): Clicks beside the words, x and y in pixels of the image: a list of points that
                all expressions of the image share, or one such list per expression. For several images, put it into
                the requests; so also the next two.
            input_labels (*optional*): 1 for a click on what is meant, 0 beside it, in the form of `input_points`. All
                1 when not given.
            input_boxes (*optional*): A box `[xmin, ymin, xmax, ymax]` in pixels of the image, shared by all
                expressions, or one box per expression.
            mask_threshold (`float`, *optional*): Probability above which a pixel is inside. The processor's by default.
            no_target_threshold (`float`, *optional*): Probability of "no target" above which the mask is emptied. The
                processor's by default.
            min_mask_pixels (`int`, *optional*): Masks with fewer pixels count as "no target".
            expression_batch_size (`int`, *optional*): Most expressions in one pass of the mask decoder, 64 by default.
            batch_size, num_workers (`int`, *optional*): Images per pass of the image encoders, and processes that
                prepare them. Only lists, datasets and iterables are batched.

        Returns:
            For one image: a list of dicts, one per expression, in order. For a list: a list of such lists. For a
            dataset or an iterable: an iterator over such lists, computed as it is read. The dicts are of the class
            [`SegmentationResult`], so that `result.mask` is `result["mask"]`, and have

            - `mask` (`PIL.Image.Image`): mode "L", size of the image, 255 inside and 0 outside; all 0 for no target;
            - `score` (`float`): see [`~SspSamProcessor.post_process_referring_segmentation`];
            - `box` (`dict` or `None`): `xmin`, `ymin`, `xmax`, `ymax` in whole pixels; `None` for no target. With
              clicks or a box beside the words it is the one around the mask: the model's own box comes from the words;
            - `label` (`str`): the expression;
            - `no_target` (`bool`): whether the expression refers to nothing in the image;
            - `unknown_words` (`list[str]`): see [`~SspSamProcessor.unknown_words`].

        Raises:
            ValueError, TypeError: If inputs are missing or do not fit each other; before anything is computed.
        """
        inputs = take_one(kwargs, "inputs", inputs, ("image", "images"))
        text = take_one(kwargs, "text", text, TEXT_KEYS)
        _check_loader(kwargs)
        spatial = {name: kwargs.pop(name) for name in SPATIAL_KEYS if kwargs.get(name) is not None}
        requests = self.check_inputs(inputs, text, **spatial)
        return [] if isinstance(requests, list) and not requests else super().__call__(requests, **kwargs)

    def _sanitize_parameters(self, **options):
        options = check_settings(**only_known(options, SETTINGS, (*SPATIAL_KEYS, "batch_size", "num_workers")))
        forward = {name: options.pop(name) for name in SETTINGS[-1:] if name in options}
        return {}, forward, options

    # ---- inputs ---------------------------------------------------------------------------------------------------

    def check_inputs(self, inputs, text=None, **spatial) -> "dict | list[dict] | Iterator | _Requests":
        """
        Brings every accepted form of input to requests with a list of expressions, or raises.

        Returns:
            One request, a list of requests, or for a dataset or iterable something that makes requests when read.
        """
        if inputs is None:
            raise ValueError("expected an image or requests as first argument, got None")
        inputs, text = as_list(inputs), as_texts(text)
        if isinstance(inputs, (Mapping, *SINGLE_IMAGE_TYPES)) or hasattr(inputs, "read"):
            return as_request(only_read(inputs, SETTINGS), text, **spatial)
        if spatial:
            raise ValueError(
                f"{' and '.join(spatial)} can be given beside one image only; "
                "for several, put them into a dict per image, next to its 'image' and 'text'"
            )
        if isinstance(inputs, (list, tuple)):
            pairs = zip(inputs, texts_per_image(text, len(inputs)))
            places = [f" of image {number}" for number in range(1, len(inputs) + 1)]
            return [as_request(only_read(item, SETTINGS, at), own, at) for (item, own), at in zip(pairs, places)]
        if text is not None and not is_text(text):
            raise TypeError(f"expected one string or a list of strings for all images, got {text!r:.80}")
        if isinstance(inputs, Sized) and hasattr(inputs, "__getitem__"):
            return _Requests(inputs, text)
        if isinstance(inputs, Iterable):
            return (as_request(item, text) for item in inputs)
        raise TypeError(f"expected an image, a request, a list, a dataset or an iterable, got {type(inputs).__name__}")

    def get_iterator(
        self, inputs, num_workers: int, batch_size: int, preprocess_params, forward_params, postprocess_params
    ):
        # As in the base class, except that whole requests are batched: its own collation keeps one row per image.
        if isinstance(inputs, Sized):
            requests = PipelineDataset(inputs, as_request, {})
        else:
            requests, num_workers = PipelineIterator(inputs, as_request, {}), min(num_workers, 1)
        loader = DataLoader(requests, num_workers=num_workers, batch_size=batch_size, collate_fn=self.preprocess)
        model_iterator = PipelineIterator(loader, self.forward, forward_params, loader_batch_size=batch_size)
        return PipelineIterator(model_iterator, self.postprocess, postprocess_params)

    # ---- steps ----------------------------------------------------------------------------------------------------

    def preprocess(self, input_: dict[str, Any] | list[dict[str, Any]]) -> dict[str, Any]:
        """Turns one request, or a batch of them, into the model's inputs; adds the expressions under `labels`."""
        requests = [as_request(item) for item in (input_ if isinstance(input_, list) else [input_])]
        texts = [request["text"] for request in requests]
        spatial = {
            name: [request.get(name) for request in requests]
            for name in SPATIAL_KEYS
            if any(name in request for request in requests)
        }
        has_box = None
        if "input_boxes" in spatial:
            # The processor wants a box for every expression or for none; `_forward` leaves the unused ones out again.
            boxes = [own or [None] * len(text) for own, text in zip(spatial["input_boxes"], texts)]
            boxes = [[UNUSED_BOX if box is None else box for box in own] for own in boxes]
            has_box = torch.tensor([box is not UNUSED_BOX for own in boxes for box in own])
            spatial["input_boxes"] = boxes
        images = [request["image"] for request in requests]
        model_inputs = dict(self.processor(images=images, text=texts, return_tensors="pt", **spatial))
        return {**model_inputs, "labels": texts, "has_box": has_box}

    def _forward(self, input_tensors, expression_batch_size: int = 64):
        """
        Encodes the images once, unless `image_features` come along, and decodes their expressions in groups.

        Returns:
            `dict` whose `images` has one dict per image: the rows of each output, `original_size`, `labels`, and of
            which expressions there were clicks or a box, `clicked`.
        """
        # 1. Images.
        features = input_tensors.get("image_features")
        if features is None:
            pixels = {name: input_tensors.get(name) for name in ("pixel_values", "semantic_pixel_values")}
            features = self.model.get_image_features(**pixels)

        # 2. Expressions, in groups that bound the memory.
        names = ("input_ids", "attention_mask", "image_index", *SPATIAL_KEYS)
        rows = {name: input_tensors[name] for name in names if input_tensors.get(name) is not None}
        outputs: dict[str, torch.Tensor] = {}
        kinds = _kinds(rows, input_tensors["has_box"])
        for group, inputs in _groups(rows, kinds, expression_batch_size):
            output = self.model(**inputs, image_features=features)
            for name in OUTPUT_KEYS:
                if output.get(name) is not None:
                    value = output[name].float()
                    outputs.setdefault(name, value.new_zeros(len(rows["input_ids"]), *value.shape[1:]))[group] = value

        # 3. Back to one entry per image.
        images = []
        for index, (size, labels) in enumerate(zip(input_tensors["original_sizes"], input_tensors["labels"])):
            own = rows["image_index"] == index
            own_outputs = {name: value[own] for name, value in outputs.items()}
            images.append(
                {"outputs": own_outputs, "original_size": size, "labels": labels, "clicked": (kinds > 0)[own]}
            )
        return {"images": images}

    def postprocess(self, model_outputs, mask_threshold=None, no_target_threshold=None, min_mask_pixels=None):
        """Turns the outputs for one image into one dict per expression."""
        image = model_outputs["images"]
        image = image[0] if isinstance(image, list) else image
        predictions = self.processor.post_process_referring_segmentation(
            image["outputs"],
            original_sizes=[image["original_size"]],
            mask_threshold=mask_threshold,
            no_target_threshold=no_target_threshold,
            min_mask_pixels=min_mask_pixels,
            clicked=image["clicked"],
            windows=True,
        )
        results = [
            as_result(prediction, label, self.processor.unknown_words(label))
            for prediction, label in zip(predictions, image["labels"])
        ]
        hint = embedded_hint(results) if is_embedded(self.model) else None
        if hint is not None and not ReferringSegmentationPipeline.has_warned:
            ReferringSegmentationPipeline.has_warned = True
            warnings.warn(hint, EmbeddedModelWarning, stacklevel=2)
        return results

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs):
        """
        Saves model, tokenizer and image processor in one folder, from which `pipeline(model=folder)` loads again.

        Code that was loaded out of a model repository is saved along with them.

        Raises:
            ValueError: If `save_directory` is a file.
        """
        if os.path.isfile(save_directory):
            raise ValueError(f"expected a folder to save into, got the file {os.fspath(save_directory)!r}")
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)
        if IS_REMOTE_CODE:
            custom_object_save(self, save_directory)
            add_pipeline(save_directory, f"{type(self).__module__.rsplit('.', 1)[-1]}.{type(self).__name__}")


def _check_loader(options: dict[str, Any]):
    check_settings(**{name: options[name] for name in ("batch_size", "num_workers") if name in options})


class _Requests(Dataset):
    """A dataset of images or requests, read as requests."""

    def __init__(self, items, text: str | list[str] | None):
        self.items = items
        self.text = text

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return as_request(self.items[index], self.text)


def _kinds(rows: dict[str, torch.Tensor], has_box: torch.Tensor | None) -> torch.Tensor:
    """Of each expression twice the number of its clicks, and 1 more with a box; 0 for words alone."""
    clicks = rows["input_ids"].new_zeros(len(rows["input_ids"]))
    if "input_labels" in rows:
        clicks = (rows["input_labels"][:, 0] != PAD_LABEL).sum(1)
    return 2 * clicks if has_box is None else 2 * clicks + has_box.to(clicks)


def _groups(
    rows: dict[str, torch.Tensor], kinds: torch.Tensor, size: int
) -> Iterator[tuple[torch.Tensor, dict[str, torch.Tensor]]]:
    """
    Sorts expressions into groups of at most `size` that have the same number of clicks and boxes.

    SAM's decoder attends to padding among the clicks too; in groups of equal number there is none, so that an
    expression gives the same mask whatever shares its batch.

    Yields:
        The indices of a group, and its inputs.
    """
    for kind in torch.unique(kinds).tolist():
        members = torch.nonzero(kinds == kind).flatten()
        for group in members.split(size):
            inputs = {name: value[group] for name, value in rows.items() if name not in SPATIAL_KEYS}
            if kind >= 2:
                inputs["input_points"] = rows["input_points"][group, :, : kind // 2]
                inputs["input_labels"] = rows["input_labels"][group, :, : kind // 2]
            if kind % 2:
                inputs["input_boxes"] = rows["input_boxes"][group]
            yield group, inputs


__all__ = ["ReferringSegmentationPipeline"]
