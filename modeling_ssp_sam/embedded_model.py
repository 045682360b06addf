# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What is said where the checkpoint that comes with the package meets words or images it was not made for."""

import os
from typing import Any

EMBEDDED_NAME = "ssp-sam-scenes"  # of its folder
FOR_PHOTOGRAPHS = "for photographs run: ssp-sam pull wayneicloud/SSP-SAM"


class EmbeddedModelWarning(UserWarning):
    """The embedded checkpoint was asked for something that it does not know."""


def is_embedded(model: Any) -> bool:
    """Whether a model is the one that comes with the package, in its folder."""
    return os.path.basename(os.path.normpath(model.name_or_path or ".")) == EMBEDDED_NAME


def embedded_hint(results: list[dict[str, Any]], is_unfamiliar: bool = False) -> str | None:
    """
    Returns one line on what the embedded checkpoint is, or `None` where it seems to know what it is asked.

    Args:
        results (`list[dict]`): What the pipeline returned for the expressions of one image.
        is_unfamiliar (`bool`, defaults to `False`): Whether the image is unlike those the checkpoint was trained on.
    """
    words = list(dict.fromkeys(word for result in results for word in result["unknown_words"]))
    reasons = []
    if is_unfamiliar:
        reasons.append("this image is unlike what the model knows")
    elif results and all(result["no_target"] for result in results):
        reasons.append("nothing was found")
    if words:
        reasons.append(f"the model does not know {', '.join(map(repr, words[:5]))}{' …' if len(words) > 5 else ''}")
    if not reasons:
        return None
    return f"{', and '.join(reasons)}: the embedded checkpoint knows generated scenes alone; {FOR_PHOTOGRAPHS}"
