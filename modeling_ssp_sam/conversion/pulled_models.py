# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Models that were converted on this machine: one folder each below `HF_HOME`, whole or absent, with its origin."""

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import constants, try_to_load_from_cache

from ...training.atomic_files import claim_name, remove_whole, write_aside
from .checkpoint_sources import Checkpoint, PullError, SeveralError, Source, choose_checkpoint

RECORD = "pulled.json"


@dataclass(frozen=True)
class Origin:
    """
    What a converted model was made of, and how; two conversions of one origin are the same model.

    Args:
        source: `owner/name`, or the path of a file on this machine.
        file: Path of the checkpoint in the repository; of a file on this machine its name.
        content: What changes with the content: the SHA-256 on the Hub, otherwise commit, or size and time of a file.
        dtype: Precision of the weights.
        variant: Row of the ablation.
        converter: Version of the converter.
    """

    source: str
    file: str
    content: str
    dtype: str
    variant: str
    converter: int

    @property
    def name(self) -> str:
        """The name of its folder."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]
        words = f"{PurePosixPath(self.source).name}-{PurePosixPath(self.file).with_suffix('')}-{self.dtype}"
        return re.sub(r"[^\w.+-]+", "-", words)[:80] + f"-{digest}"


@dataclass(frozen=True)
class PulledModel:
    """
    A model that `from_pretrained` can load.

    Args:
        folder: Where it lies.
        origin: The [`Origin`] that it was converted from; None where nothing had to be converted.
        commit: Of the repository, where there is one.
        checkpoint_size: Of the file that was converted, in bytes.
        seconds: When it was converted, since 1970.
        is_new: Whether this call has made it.
    """

    folder: Path
    origin: Any = None
    commit: str | None = None
    checkpoint_size: int = 0
    seconds: float = 0.0
    is_new: bool = False

    @property
    def size(self) -> int:
        """Its files, in bytes."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


def models_folder() -> Path:
    """Returns the folder of all converted models."""
    return Path(constants.HF_HOME) / "ssp-sam"


def pulled_models() -> list[PulledModel]:
    """Returns the converted models, by source and file, the newest of each first."""
    models = []
    for record in models_folder().glob(f"*/{RECORD}"):
        if record.parent.name.startswith("."):  # not whole
            continue
        try:
            content = json.loads(record.read_text("utf-8"))
            origin = Origin(**{field.name: content[field.name] for field in fields(Origin)})
            models.append(
                PulledModel(
                    record.parent, origin, content["commit"], content["checkpoint_size"], float(content["seconds"])
                )
            )
        except (OSError, ValueError, KeyError, TypeError):  # being removed, or not ours
            continue
    return sorted(models, key=lambda model: (model.origin.source, model.origin.file, -model.seconds))


def models_meant(source: Source, models: Iterable[PulledModel]) -> list[PulledModel]:
    """Returns the newest conversion of each checkpoint of a repository that the user may mean."""
    own = [model for model in models if model.origin.source == source.repo_id]
    if source.revision is not None:
        own = [model for model in own if (model.commit or "").startswith(source.revision)]
    newest: dict[str, PulledModel] = {}
    for model in own:
        newest.setdefault(model.origin.file, model)
    if not newest or source.file is None:
        return list(newest.values())
    files = [Checkpoint(name, model.checkpoint_size) for name, model in newest.items()]
    try:
        return [newest[choose_checkpoint(files, source.file, source.repo_id).name]]
    except SeveralError as error:
        return [newest[checkpoint.name] for checkpoint in error.checkpoints]
    except PullError:
        return []


def only_one(models: Sequence[PulledModel], source: Source) -> PulledModel:
    """Returns the model if it is the only one; raises a [`SeveralError`] with their names otherwise."""
    if len(models) == 1:
        return models[0]
    files = [Checkpoint(model.origin.file, model.checkpoint_size) for model in models]
    names = ", ".join(f"{source.repo_id}:{checkpoint.name}" for checkpoint in files)
    raise SeveralError(f"{len(models)} checkpoints of {source.repo_id} were pulled; name one of them: {names}", files)


def find_model(origin: Origin) -> PulledModel | None:
    """Returns the conversion of this origin, if there is one."""
    return next((model for model in pulled_models() if model.origin == origin), None)


def claim(origin: Origin, say: Callable[[str], None]) -> AbstractContextManager[None]:
    """Lets one process at a time convert an origin; others wait. The claim of a killed process ends with it."""
    message = "another process pulls the same model; waiting for it"
    return claim_name(models_folder() / origin.name, waiting=lambda: say(message))


def keep_model(
    origin: Origin, write: Callable[[Path], object], commit: str | None = None, checkpoint_size: int = 0
) -> PulledModel:
    """
    Writes a converted model aside, with its record, and renames it; call it within [`claim`].

    Args:
        origin: What it is made of.
        write: Writes the model into the folder of this path, which does not exist yet.
        commit, checkpoint_size: Of the record.
    """
    folder = models_folder() / origin.name
    record = {**asdict(origin), "commit": commit, "checkpoint_size": checkpoint_size, "seconds": time.time()}
    with write_aside(folder) as aside:
        write(aside)
        (aside / RECORD).write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    return PulledModel(folder, origin, commit, checkpoint_size, record["seconds"], is_new=True)


def remove_model(model: PulledModel) -> int:
    """Deletes a converted model, and the checkpoint it came from where the Hub's cache has it; returns the bytes."""
    freed = model.size
    remove_whole(model.folder)
    if model.origin is not None and model.commit is not None:
        cached = try_to_load_from_cache(model.origin.source, model.origin.file, revision=model.commit)
        if isinstance(cached, str):
            freed += forget_download(Path(cached))
    return freed


def forget_download(file: Path) -> int:
    """Takes one file out of the Hub's cache, with its content unless another snapshot has it; returns the bytes."""
    blob = file.resolve()
    size = blob.stat().st_size
    file.unlink()
    snapshots = blob.parents[1] / "snapshots"
    if blob != file:  # a link to it, on systems that have links
        if any(other.resolve() == blob for other in snapshots.rglob("*") if other.is_symlink()):
            return 0
        blob.unlink()
    return size
