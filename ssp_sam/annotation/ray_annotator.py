# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Annotation by Ray Data, which schedules batches over a cluster and repeats those of workers that die."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow

from ..registration import pipeline
from .items import Expressions
from .labelling import Labeller
from .shards import SCHEMA, rows_of
from .sources import IMAGE_NAMES, columns_of


class RayAnnotator:
    """
    What `ray.data.Dataset.map_batches` calls: a batch of images in, the rows of an annotation out, as Arrow's table.

    Example:

    ```python
    images = ray.data.read_binary_files("images", include_paths=True)
    rows = images.map_batches(
        ssp_sam.ray_annotator,
        fn_constructor_kwargs={"expressions": ["the red car", "the dog"]},
        batch_size=8,
        num_gpus=1,
        concurrency=4,
    )
    rows.write_parquet("annotated")
    ```

    Args:
        expressions, column, classes, template: What to look for, as in `ssp_sam.annotate`.
        model: What `ssp_sam.pipeline` takes; the embedded model when not given.
        source: What the collection is called.
        split: Of the rows.
        max_megapixels: Most pixels of an image, in millions.
        options: Those of `ssp_sam.pipeline`, such as `dtype` and `device`.

    Raises:
        ValueError: Several ways to say what to look for were chosen, or there is no such model.
    """

    def __init__(
        self,
        expressions: str | Sequence[str] | None = None,
        *,
        column: str | None = None,
        classes: Sequence[str] | None = None,
        template: str = "the {}",
        model: Any = None,
        source: str = "dataset",
        split: str = "train",
        max_megapixels: float = 50.0,
        **options: Any,
    ):
        self.expressions = Expressions.choose(expressions, column, classes, template)
        self.labeller = Labeller(pipeline(model, **options), max_megapixels * 1e6)
        self.source, self.fields = source, {"split": split, "fingerprint": self.labeller.fingerprint()}

    def __call__(self, batch: Mapping[str, np.ndarray]) -> pyarrow.Table:
        """
        Annotates a batch.

        Args:
            batch: Columns by name: images, as bytes of files, arrays or paths, under one of the usual names or `bytes`;
                `image_id`, or `path`, where there is one; the expressions, where they are a column.

        Returns:
            `pyarrow.Table`: A row for each prediction, and one with a `reason` for each image that could not be used.

        Raises:
            ValueError: No column holds images.
        """
        names = [name for name in (*IMAGE_NAMES, "bytes") if name in batch]
        if not names:
            raise ValueError(f"expected a column of images, got {columns_of(batch)}")
        rows = []
        for index, image in enumerate(batch[names[0]]):
            row = {name: values[index] for name, values in batch.items()}
            row["image_id"] = str(row.get("image_id", row.get("path", index)))
            rows.append({**row, "image": image})
        items = [self.expressions.item(row, row["image_id"], self.source) for row in rows]
        table = []
        for item, image, found in self.labeller.read(self.labeller.predict(self.labeller.prepare(items))):
            size = {} if image is None else {"size_hw": [image.height, image.width]}
            table += rows_of(item, found, **self.fields, **size)
        return pyarrow.Table.from_pylist(table, schema=SCHEMA)


ray_annotator = RayAnnotator  # its name beside `ssp_sam.annotate`
