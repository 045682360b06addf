# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The entries that only the `config.json` of an exported model repository has, beside the model's own fields.

`auto_map` and `custom_pipelines` tell transformers where in the repository its code lies. `weights_sha256` says what
the weight files hold; whoever saves the model anew writes other files, so no configuration keeps it.
"""

import json
import os
from pathlib import Path
from typing import Any

from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

TASK = "referring-segmentation"
# Whether this code was loaded out of a model repository, rather than from the installed package.
IS_REMOTE_CODE = __name__.startswith(TRANSFORMERS_DYNAMIC_MODULE_NAME)


class KnownPipelines(dict):
    """
    The pipelines of a model whose code is installed, and has registered them.

    `transformers.pipeline` reads the name of the task from here when none is given. It then asks whether the task is
    `in` here, which would mean that code of the model's repository must run: no, the registered pipeline serves.
    """

    def __contains__(self, task: object) -> bool:
        return False


def read_hub_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """Returns what a `config.json` holds beside the model's own fields, as the class that reads it needs it."""
    fields = {name: value for name, value in fields.items() if name != "weights_sha256"}
    if not IS_REMOTE_CODE:
        fields["custom_pipelines"] = KnownPipelines({TASK: {}})
    return fields


def without_hub_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """
    Returns the fields to be saved with a model or processor.

    The installed package saves no code beside them and so refers to none. Code out of a repository is saved again by
    transformers, which renews `auto_map`, and by the pipeline, which adds itself to the configuration.
    """
    dropped = {"custom_pipelines"} if IS_REMOTE_CODE else {"custom_pipelines", "auto_map"}
    return {name: value for name, value in fields.items() if name not in dropped}


def add_pipeline(folder: str | os.PathLike, implementation: str):
    """
    Names a pipeline in a saved configuration, so that `transformers.pipeline` finds it beside the model.

    Args:
        folder (`str` or `os.PathLike`): Holds `config.json`, and the code of the pipeline.
        implementation (`str`): The class, as `module.Class`.
    """
    path = Path(folder) / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["custom_pipelines"] = {TASK: {"impl": implementation, "pt": ["AutoModel"], "type": "multimodal"}}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")
