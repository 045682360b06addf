# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a user calls a checkpoint -> one file: in a repository of the Hub, in a folder, or at an address of the Hub."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from huggingface_hub import HfApi, constants, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

SUFFIXES = (".pth", ".pt", ".ckpt", ".pth.tar")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HUB_SECONDS = 8  # in which the Hub must have answered
_CONFIG_FILES = ("config.json", "tokenizer_config.json", "adapter_config.json")
_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")


class PullError(ValueError):
    """A model cannot be had; the message is one sentence."""


class UnreachableError(PullError):
    """The Hub cannot be reached, or must not be."""


class SeveralError(PullError):
    """Several checkpoints are meant; `checkpoints` has them."""

    def __init__(self, message: str, checkpoints: Sequence["Checkpoint"]):
        super().__init__(message)
        self.checkpoints = checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """
    A file with weights.

    Args:
        name: Its path in the repository or folder, with slashes.
        size: In bytes.
        sha256: Of its content, where the Hub tells it.
    """

    name: str
    size: int
    sha256: str | None = None

    def __str__(self) -> str:
        return f"{self.name} ({size_text(self.size)})"


@dataclass(frozen=True)
class Source:
    """
    What a user named: a path of this machine, or a repository of the Hub.

    Args:
        path: The file or folder; None for a repository.
        repo_id: `owner/name`; empty for a path.
        file: Path of the checkpoint in there, or a part of it; None where the user named none.
        revision: Branch, tag or commit.
    """

    path: Path | None = None
    repo_id: str = ""
    file: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class Listing:
    """What a repository holds at one commit."""

    commit: str
    has_config: bool
    checkpoints: tuple[Checkpoint, ...]


def parse_source(source: str | os.PathLike, file: str | None = None, revision: str | None = None) -> Source:
    """
    Tells a path, `owner/name`, `owner/name:FILE` and an address of the Hub apart; what exists as a path is one.

    Raises:
        PullError: If it is none of these, or names a file or revision twice.
    """
    text = os.fspath(source)
    if not text.strip():
        raise PullError(f"expected the name or folder of a model, got {text!r}")
    if os.path.exists(Path(text).expanduser()):  # which is False for what no file can be called
        found = Source(Path(text).expanduser())
    elif text.startswith(("http://", "https://")):
        found = _parse_address(text)
    elif text.startswith((".", "/", "~")):
        raise PullError(f"there is no file or folder at {text!r}")
    else:
        repo_id, _, named = text.partition(":")
        if HUB_ID.fullmatch(repo_id) is None or (not named and is_checkpoint_name(repo_id)):
            raise PullError(f"{text[:200]!r} is no file or folder, no address, and no Hub id such as owner/name:FILE")
        found = Source(repo_id=repo_id, file=named or None)
    for name, given in (("file", file), ("revision", revision)):
        if given is not None and getattr(found, name) not in (None, given):
            raise PullError(f"{text!r} names the {name} {getattr(found, name)!r}, and {given!r} is asked for; give one")
    if found.path is not None and revision is not None:
        raise PullError(f"{text!r} is a path of this machine, which has no revision {revision!r}")
    return Source(found.path, found.repo_id, file or found.file, revision or found.revision)


def _parse_address(address: str) -> Source:
    parts = urlsplit(address)
    if parts.hostname not in (*_HUB_HOSTS, urlsplit(constants.ENDPOINT).hostname):
        raise PullError(f"expected an address of the Hub ({constants.ENDPOINT}/owner/name), got {address!r}")
    path = [unquote(part) for part in parts.path.split("/") if part]
    if path[:1] in (["datasets"], ["spaces"]) or len(path) < 2 or HUB_ID.fullmatch("/".join(path[:2])) is None:
        raise PullError(f"{address!r} is no address of a model: expected {constants.ENDPOINT}/owner/name")
    rest = path[2:]
    if not rest:
        return Source(repo_id="/".join(path))
    if rest[0] not in ("resolve", "blob", "tree", "raw") or len(rest) < 2:
        raise PullError(f"{address!r} is no address of a model or of a file in one")
    revision = None if rest[1] == "main" else rest[1]
    return Source(repo_id="/".join(path[:2]), revision=revision, file="/".join(rest[2:]) or None)


def is_checkpoint_name(name: str) -> bool:
    """Whether a file of this name may hold a checkpoint."""
    return name.lower().endswith(SUFFIXES)


# ---- what there is ---------------------------------------------------------------------------------------------------


def list_folder(folder: Path) -> tuple[Checkpoint, ...]:
    """Returns the checkpoints in a folder and its sub-folders."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and is_checkpoint_name(path.name))
    return tuple(Checkpoint(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files)


def list_repository(source: Source, token: str | None = None) -> Listing:
    """
    Returns what a repository of the Hub holds.

    Raises:
        PullError: If it does not exist, or is closed to the user.
        UnreachableError: If the Hub cannot be reached.
    """
    with hub_errors(source.repo_id, token):
        info = HfApi(token=token).model_info(
            source.repo_id, revision=source.revision, files_metadata=True, timeout=HUB_SECONDS
        )
    names = {file.rfilename: file for file in info.siblings or ()}
    checkpoints = tuple(
        Checkpoint(name, file.size or 0, file.lfs.sha256 if file.lfs else None)
        for name, file in sorted(names.items(), key=lambda item: item[0].split("/"))
        if is_checkpoint_name(name)
    )
    return Listing(str(info.sha), "config.json" in names, checkpoints)


def check_source(name: str | os.PathLike):
    """
    Asks the Hub once, briefly, whether it has a model, before a loader asks again and again.

    Args:
        name: What a loader is to be given; a folder, or what is on this machine already, is not asked for.

    Raises:
        PullError: If there is no such model, or the Hub cannot be reached.
    """
    name = os.fspath(name)
    if os.path.exists(name):
        return
    if name.startswith((".", "/", "~")) or "\\" in name:
        raise PullError(f"there is no file or folder at {name!r}")
    with hub_errors(name):
        if not any(isinstance(try_to_load_from_cache(name, file), str) for file in _CONFIG_FILES):
            HfApi().model_info(name, timeout=HUB_SECONDS)


@contextmanager
def hub_errors(repo_id: str, token: str | None = None) -> Iterator[None]:
    """Turns what huggingface_hub raises into one sentence."""
    try:
        yield
    except GatedRepoError as error:
        page = f"{constants.ENDPOINT}/{repo_id}"
        raise PullError(
            f"{repo_id} is gated: accept its terms at {page}, then set HF_TOKEN or run hf auth login"
        ) from error
    except RepositoryNotFoundError as error:
        raise PullError(_explain_missing(repo_id, token)) from error
    except RevisionNotFoundError as error:
        raise PullError(f"{repo_id} has no such revision: {reason_of(error)}") from error
    except HFValidationError as error:
        raise PullError(f"{repo_id!r} is no Hub id: {reason_of(error)}") from error
    except OfflineModeIsEnabled as error:
        raise UnreachableError("HF_HUB_OFFLINE is set, so the Hub is not asked") from error
    except HfHubHTTPError as error:
        raise PullError(f"the Hub refused {repo_id}: {reason_of(error)}") from error
    except (HTTPError, ConnectionError, TimeoutError) as error:
        raise UnreachableError(f"the Hub cannot be reached at {constants.ENDPOINT} ({reason_of(error)})") from error


def _explain_missing(repo_id: str, token: str | None) -> str:
    try:
        is_dataset = HfApi(token=token).repo_exists(repo_id, repo_type="dataset")
    except (HTTPError, OSError):
        is_dataset = False
    if is_dataset:
        return f"{repo_id} is a dataset of the Hub, not a model"
    return f"there is no model {repo_id} on the Hub, or it is private: set HF_TOKEN or run hf auth login"


def reason_of(error: BaseException) -> str:
    """Returns the first line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


# ---- which one is meant ----------------------------------------------------------------------------------------------


def choose_checkpoint(
    checkpoints: Sequence[Checkpoint],
    part: str | None,
    where: str,
    ask: Callable[[Sequence[Checkpoint]], Checkpoint] | None = None,
) -> Checkpoint:
    """
    Returns the checkpoint that is meant.

    Args:
        checkpoints: All there are.
        part: Its path or a part of that; None for the only one there is.
        where: What to call the repository or folder in messages.
        ask: Decides where several are meant; an error when not given.

    Raises:
        PullError: If none is meant.
        SeveralError: If several are meant and nobody is asked.
    """
    if not checkpoints:
        raise PullError(f"{where} holds no config.json and no checkpoint (looked for {', '.join(SUFFIXES)})")
    meant = checkpoints if part is None else _matching(checkpoints, part)
    if not meant:
        raise PullError(f"{where} holds no checkpoint {part!r}; there are {', '.join(map(str, checkpoints))}")
    if len(meant) == 1:
        return meant[0]
    if ask is not None:
        return ask(meant)
    fitting = "" if part is None else f" whose path has {part!r} in it"
    listed = ", ".join(map(str, meant))
    raise SeveralError(f"{where} holds {len(meant)} checkpoints{fitting}; name one of them: {listed}", meant)


def _matching(checkpoints: Sequence[Checkpoint], part: str) -> Sequence[Checkpoint]:
    """Those whose path is `part`, otherwise has it as file or folder, otherwise contains it."""
    wanted = part.strip("/").casefold()
    by_name = [checkpoint for checkpoint in checkpoints if checkpoint.name == part.strip("/")]
    by_step = [checkpoint for checkpoint in checkpoints if wanted in _steps(checkpoint.name)]
    return by_name or by_step or [checkpoint for checkpoint in checkpoints if wanted in checkpoint.name.casefold()]


def _steps(name: str) -> set[str]:
    path = PurePosixPath(name.casefold())
    return {*path.parts, path.name.removesuffix(path.suffix)}


def size_text(count: float) -> str:
    """Returns a number of bytes as people read it, such as `3.2 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} GB"
