# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Writes a model as a self-contained repository for the Hub, which needs no more than transformers to be used."""

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

from ..configuration.configuration_ssp_sam import SspSamConfig
from ..configuration.hub_fields import add_pipeline
from ..deployment.standalone import write_standalone
from ..modeling_ssp_sam.conversion.checkpoint_sources import size_text
from ..modeling_ssp_sam.modeling_ssp_sam import SspSamModel
from ..modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline
from ..modeling_ssp_sam.weight_checksums import file_sha256
from ..processing.image_processing_ssp_sam import SspSamImageProcessor
from ..processing.processing_ssp_sam import SspSamProcessor
from ..training.atomic_files import claim_name, write_aside
from ..training.evaluation.report import model_identity
from .card import ModelFacts, make_card
from .results import Evaluation, check_weights
from .samples import Sample, write_samples

PACKAGE = Path(__file__).resolve().parents[1]
# The entry point of Inference Endpoints is copied under the name that they look for.
ENDPOINT_HANDLER = PACKAGE / "deployment" / "endpoint_handler.py"
REQUIREMENTS = PACKAGE / "deployment" / "endpoint_requirements.txt"
# The entry points of the code that goes to the Hub.
CLASSES = {
    "AutoConfig": SspSamConfig,
    "AutoModel": SspSamModel,
    "AutoProcessor": SspSamProcessor,
    "AutoImageProcessor": SspSamImageProcessor,
    "pipeline": ReferringSegmentationPipeline,
}


def export_model(
    source: str | os.PathLike,
    folder: str | os.PathLike,
    *,
    facts: ModelFacts | None = None,
    samples: Sequence[Sample] = (),
    evaluations: Sequence[Evaluation] = (),
    max_shard_size: int | str = "5GB",
    overwrite: bool = False,
) -> Path:
    """
    Writes a model repository: weights, configuration, processor, code, pipeline, endpoint handler, model card.

    The folder appears when it is complete, or not at all.

    Args:
        source: folder or Hub id of the model.
        folder: where to write.
        facts: what the model card says beyond what the model itself tells.
        samples: images with expressions for the widget.
        evaluations: measurements for the model card.
        max_shard_size: size above which the weights are split into several files.
        overwrite: whether a folder that holds an earlier export may be replaced.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder holds something else, or an earlier export and `overwrite` is not set.
        OSError, ValueError: If there is no such model or sample, or an evaluation is one of other weights or settings.
    """
    folder = Path(folder)
    check_target(folder, overwrite)
    model = SspSamModel.from_pretrained(source, dtype="auto")
    processor = SspSamProcessor.from_pretrained(source)
    facts = ModelFacts() if facts is None else facts
    if facts.name is None:
        facts = dataclasses.replace(facts, name=(facts.repo_id or folder.name).split("/")[-1])
    with claim_name(folder), write_aside(folder) as new:
        model.save_pretrained(new, max_shard_size=max_shard_size)
        processor.save_pretrained(new)
        digests = [digest for path in (_folder_of(source), new) if (digest := _digest(path, model)) is not None]
        for evaluation in evaluations:
            check_weights(evaluation, digests)
        write_code(new)
        write_settings(new)
        write_samples(new, samples)
        (new / "README.md").write_text(make_card(new, facts, samples, evaluations), "utf-8")
    return folder


def file_tree(folder: Path) -> str:
    """Returns the files of a folder with their sizes, one per line, and their sum."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = [path.stat().st_size for path in files]
    lines = [f"{size_text(size):>9}  {path.relative_to(folder).as_posix()}" for path, size in zip(files, sizes)]
    return "\n".join([*lines, f"{size_text(sum(sizes)):>9}  in {len(files)} files"])


def _folder_of(source: str | os.PathLike) -> Path:
    """The folder of a model; for one of the Hub, that of the cache where loading it has put its files."""
    config = cached_file(os.fspath(source), "config.json")
    return Path(config).parent


def _digest(folder: Path, model: SspSamModel) -> str | None:
    """The digest of a folder's weights as evaluation reports have it."""
    return model_identity(str(folder), model)["weights_sha256"]


def check_target(folder: Path, overwrite: bool):
    """Raises a `FileExistsError` unless the folder may be written: new, empty, or an export that may be replaced."""
    if folder.is_dir() and any(folder.iterdir()):
        if not _is_export(folder):
            raise FileExistsError(f"{str(folder)!r} holds other files and is left alone; name a new folder")
        if not overwrite:
            raise FileExistsError(
                f"{str(folder)!r} holds an earlier export; name a new folder or allow to overwrite it"
            )
    elif folder.exists() and not folder.is_dir():
        raise FileExistsError(f"expected a folder to write into, got the file {str(folder)!r}")


def _is_export(folder: Path) -> bool:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return config.get("model_type") == SspSamConfig.model_type and "auto_map" in config


# ---- code -----------------------------------------------------------------------------------------------------------


def write_code(folder: Path):
    """
    Writes the modules that the repository needs, all into one folder as remote code must lie, and what they require.

    Only modules that the entry points import, directly or through others, are written.
    """
    for own in CLASSES.values():
        source = PACKAGE.joinpath(*own.__module__.split(".")[1:]).with_suffix(".py")
        write_standalone(source, folder / source.name, prefix=".")
    write_standalone(ENDPOINT_HANDLER, folder / "handler.py")
    shutil.copyfile(REQUIREMENTS, folder / "requirements.txt")


def _references() -> dict[str, str]:
    """The entry points, as `module.Class`."""
    return {name: f"{own.__module__.rsplit('.', 1)[-1]}.{own.__name__}" for name, own in CLASSES.items()}


# ---- settings -------------------------------------------------------------------------------------------------------


def write_settings(folder: Path):
    """Adds to the saved settings where the code lies, and what the weight files hold."""
    references = _references()
    weights = sorted(folder.glob("*.safetensors"))
    _edit_json(
        folder / "config.json",
        auto_map={name: references[name] for name in ("AutoConfig", "AutoModel")},
        weights_sha256={path.name: file_sha256(path) for path in weights},
    )
    add_pipeline(folder, references["pipeline"])
    settings = json.loads((folder / "processor_config.json").read_text("utf-8"))
    image_processor = {
        **settings["image_processor"],
        "auto_map": {"AutoImageProcessor": references["AutoImageProcessor"]},
    }
    _edit_json(
        folder / "processor_config.json",
        auto_map={"AutoProcessor": references["AutoProcessor"]},
        image_processor=image_processor,
    )
    # Where the tokenizer was loaded from is of no interest to others.
    _edit_json(folder / "tokenizer_config.json", is_local=None, local_files_only=None)


def _edit_json(path: Path, **entries: Any):
    """Sets entries of a JSON file; `None` takes one out."""
    content = {**json.loads(path.read_text("utf-8")), **entries}
    content = {name: content[name] for name in sorted(content) if name not in entries or content[name] is not None}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", "utf-8")
