# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Any name of a model -> a folder for `from_pretrained`: fetched from the Hub and converted where that is needed.

A checkpoint is converted once; the folder stays in the cache of `pulled_models`, so that later calls cost nothing.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HTTPError
from safetensors import SafetensorError

from ...configuration.configuration_ssp_sam import SspSamConfig
from ...training.atomic_files import WriteError
from .checkpoint_files import CheckpointError
from .checkpoint_sources import (
    Checkpoint,
    Listing,
    PullError,
    Source,
    UnreachableError,
    choose_checkpoint,
    hub_errors,
    list_folder,
    list_repository,
    parse_source,
    reason_of,
    size_text,
)
from .convert import CONVERTER_VERSION, DTYPES, MAIN_VARIANT, convert_weights, read_original
from .pulled_models import (
    Origin,
    PulledModel,
    claim,
    find_model,
    forget_download,
    keep_model,
    models_folder,
    models_meant,
    only_one,
    pulled_models,
    remove_model,
)
from .towers import tower_sources

# In memory beside the mapped checkpoint: the peak stays below 1.3 times the latter.
SHARD_SIZE = "150MB"
# What a repository of our format may hold beside the files that from_pretrained reads.
_NOT_NEEDED = ["*.pth", "*.pt", "*.ckpt", "*.bin", "*.h5", "*.msgpack", "*.onnx", "*.onnx.data"]

_Say = Callable[[str], None]
_Ask = Callable[[Sequence[Checkpoint]], Checkpoint]


def pull(
    source: str | os.PathLike,
    file: str | None = None,
    *,
    revision: str | None = None,
    dtype: str = "float16",
    variant: str = MAIN_VARIANT,
    token: str | None = None,
) -> str:
    """
    Fetches a model and returns the folder from which `from_pretrained` and `pipeline` load it.

    A checkpoint of the original is downloaded into the Hub's cache, completed by the towers that it leaves out, and
    converted into a folder below `HF_HOME`. Where that was done before, nothing is fetched or converted again.

    Args:
        source (`str` or `os.PathLike`): `owner/name` or `owner/name:FILE` on the Hub, an address of the Hub, a
            checkpoint on this machine, a folder of checkpoints, or a folder that needs no conversion.
        file (`str`, *optional*): Path of the checkpoint in the repository or folder, or a part of it that fits one.
        revision (`str`, *optional*): Branch, tag or commit of the repository.
        dtype (`str`, defaults to `"float16"`): Precision of the written weights: float32, float16 or bfloat16.
        variant (`str`, defaults to `"paper"`): The row of the ablation that was trained; shapes do not tell.
        token (`str`, *optional*): Of the Hub; that of `HF_TOKEN` or `hf auth login` when not given.

    Returns:
        `str`: The folder.

    Raises:
        ValueError: In one sentence, if there is no such model, it cannot be fetched, is damaged, or is another model.
    """
    return str(pull_model(source, file, revision=revision, dtype=dtype, variant=variant, token=token).folder)


def pull_model(
    source: str | os.PathLike,
    file: str | None = None,
    *,
    revision: str | None = None,
    dtype: str = "float16",
    variant: str = MAIN_VARIANT,
    token: str | None = None,
    ask: _Ask | None = None,
    say: _Say = lambda line: None,
) -> PulledModel:
    """
    Does what [`pull`] does, and returns all that is known of the model.

    Args:
        source, file, revision, dtype, variant, token: Those of [`pull`].
        ask: Decides where several checkpoints are meant; an error when not given.
        say: Receives lines on what is done.
    """
    if dtype not in DTYPES:
        raise PullError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
    found = parse_source(source, file, revision)
    how = {"dtype": dtype, "variant": variant, "converter": CONVERTER_VERSION}
    with _told_in_one_sentence():
        if found.path is not None:
            return _pull_path(found, how, ask, say)
        try:
            listing = list_repository(found, token)
        except UnreachableError as error:
            return _known_model(found, how, error, say)
        if listing.has_config and found.file is None:
            return PulledModel(_fetch_folder(found.repo_id, listing, token), commit=listing.commit)
        return _pull_repository(found, listing, how, token, ask, say)


def resolve_model(model: str | os.PathLike, say: _Say = lambda line: None) -> str:
    """
    Returns what `from_pretrained` loads for any name of a model; what was pulled before is used without the network.

    Args:
        model: All that [`pull`] takes.
        say: Receives lines on what is done.

    Returns:
        `str`: A folder, or the Hub id of a repository that needs no conversion.

    Raises:
        ValueError: Those of [`pull`].
    """
    found = parse_source(model)
    if found.repo_id:
        known = models_meant(found, pulled_models())
        if known:
            return str(only_one(known, found).folder)
        if found.file is None and isinstance(try_to_load_from_cache(found.repo_id, "config.json"), str):
            return found.repo_id
    pulled = pull_model(model, say=say)
    return found.repo_id if found.repo_id and pulled.origin is None and found.revision is None else str(pulled.folder)


# ---- where it comes from ---------------------------------------------------------------------------------------------


def _pull_path(found: Source, how: dict, ask: _Ask | None, say: _Say) -> PulledModel:
    path = found.path or Path()
    if path.is_dir() and (path / "config.json").is_file() and found.file is None:
        return PulledModel(path)
    if path.is_dir():
        path = path / choose_checkpoint(list_folder(path), found.file, str(path), ask).name
    path, facts = path.resolve(), path.stat()
    origin = Origin(str(path), path.name, f"{facts.st_size} bytes, {facts.st_mtime_ns} ns", **how)
    with claim(origin, say):
        model = find_model(origin)
        if model is None:
            model = _convert(origin, path, str(path), None, say)
            same_file = {"source": origin.source, "dtype": origin.dtype, "variant": origin.variant}
            for other in pulled_models():  # what it held before
                if other.origin != origin and all(getattr(other.origin, key) == same_file[key] for key in same_file):
                    remove_model(other)
    return model


def _pull_repository(
    found: Source, listing: Listing, how: dict, token: str | None, ask: _Ask | None, say: _Say
) -> PulledModel:
    checkpoint = choose_checkpoint(listing.checkpoints, found.file, found.repo_id, ask)
    origin = Origin(found.repo_id, checkpoint.name, checkpoint.sha256 or listing.commit, **how)
    with claim(origin, say):
        model = find_model(origin)
        if model is None:
            _check_space(origin, checkpoint, listing.commit)
            say(f"fetching {checkpoint} of {found.repo_id}, commit {listing.commit[:7]}")
            path = _download(found.repo_id, checkpoint, listing.commit, token)
            model = _convert(origin, path, f"{found.repo_id}:{checkpoint.name}", listing.commit, say)
    return model


def _convert(origin: Origin, path: Path, label: str, commit: str | None, say: _Say) -> PulledModel:
    """Reads a checkpoint, fetches what it leaves out, and keeps the converted model."""
    try:
        weights = read_original(path, label)
    except CheckpointError:
        if commit is not None:
            forget_download(path)  # it is of no use
        raise
    towers, lines = tower_sources(weights)
    for line in lines:
        say(line)

    def write(folder: Path):
        how = {"dtype": origin.dtype, "variant": origin.variant, "max_shard_size": SHARD_SIZE}
        convert_weights(weights, folder, **how, **towers)

    return keep_model(origin, write, commit, path.stat().st_size)


def _download(repo_id: str, checkpoint: Checkpoint, commit: str, token: str | None) -> Path:
    """Brings a file into the Hub's cache and compares it with what the Hub has announced."""
    with hub_errors(repo_id):
        try:
            path = Path(hf_hub_download(repo_id, checkpoint.name, revision=commit, token=token))
        except HfHubHTTPError:
            raise  # has a sentence of its own
        except (HTTPError, OSError, RuntimeError) as error:
            raise PullError(
                f"the download of {checkpoint.name} of {repo_id} failed ({reason_of(error)}); the same command goes on "
                f"where it stopped"
            ) from error
    if checkpoint.sha256 is not None:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != checkpoint.sha256:
            forget_download(path)
            raise PullError(
                f"{checkpoint.name} of {repo_id} arrived damaged (SHA-256 {digest}, expected {checkpoint.sha256}) and "
                f"was removed; the same command fetches it again"
            )
    return path


def _fetch_folder(repo_id: str, listing: Listing, token: str | None) -> Path:
    """Brings a repository of our format into the Hub's cache."""
    with hub_errors(repo_id):
        config = json.loads(
            Path(hf_hub_download(repo_id, "config.json", revision=listing.commit, token=token)).read_text()
        )
        if config.get("model_type") != SspSamConfig.model_type:
            raise PullError(
                f"{repo_id} is a model of type {config.get('model_type')!r}, expected {SspSamConfig.model_type!r}"
            )
        return Path(snapshot_download(repo_id, revision=listing.commit, token=token, ignore_patterns=_NOT_NEEDED))


# ---- what is there already -------------------------------------------------------------------------------------------


def pulled_from(source: str | os.PathLike, file: str | None = None) -> list[PulledModel]:
    """Returns everything that was converted from a repository, a checkpoint in it, or a file that may be gone."""
    path = str(Path(source).expanduser().resolve())
    models = pulled_models()
    own = [model for model in models if model.origin.source == path]
    if own:
        return own
    found = parse_source(source, file)
    files = {model.origin.file for model in models_meant(found, models)}
    return [model for model in models if model.origin.source == found.repo_id and model.origin.file in files]


def _known_model(found: Source, how: dict, error: UnreachableError, say: _Say) -> PulledModel:
    """What was pulled before, where the Hub cannot be asked."""
    models = [model for model in pulled_models() if all(getattr(model.origin, key) == how[key] for key in how)]
    known = models_meant(found, models)
    if known:
        say(f"{error}: what was pulled before is used")
        return only_one(known, found)
    cached = try_to_load_from_cache(found.repo_id, "config.json", revision=found.revision)
    if found.file is None and isinstance(cached, str):
        return PulledModel(Path(cached).parent)
    wanted = found.repo_id if found.file is None else f"{found.repo_id}:{found.file}"
    raise UnreachableError(f"{error}, and {wanted} was not pulled before: run ssp-sam pull {wanted} with a network")


# ---- room and faults -------------------------------------------------------------------------------------------------


def _check_space(origin: Origin, checkpoint: Checkpoint, commit: str):
    cached = isinstance(try_to_load_from_cache(origin.source, origin.file, revision=commit), str)
    fetched, written = 0 if cached else checkpoint.size, checkpoint.size * DTYPES[origin.dtype].itemsize // 4
    for folder, needed in ((Path(constants.HF_HUB_CACHE), fetched), (models_folder(), fetched + written)):
        while not folder.exists():
            folder = folder.parent
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise PullError(
                f"{checkpoint} needs {size_text(needed)} for the download and the converted model, but {folder} has "
                f"{size_text(free)} left; free some, or set HF_HOME to another disk"
            )


@contextmanager
def _told_in_one_sentence():
    try:
        yield
    except WriteError as error:
        raise PullError(str(error)) from error
    except (OSError, SafetensorError) as error:
        raise PullError(f"cannot write to {models_folder()} ({reason_of(error)}); nothing was left there") from error
