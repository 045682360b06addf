# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads tensors by name from checkpoint files of any age, and runs nothing that such a file may carry.

Tensors are mapped from disk where the format allows it, so a large file costs no memory until it is used.
"""

import argparse
import collections
import io
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

# What a training checkpoint may hold beside tensors, numbers, text and containers of them.
ALLOWED_CLASSES: list[Any] = [argparse.Namespace]

_CUT_OFF = "the file is truncated or damaged: fetch it again"


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """
    Reads the weights of a checkpoint by name.

    Args:
        path (`str` or `Path`): A file of `torch.save`, old or new, a TorchScript archive, or safetensors. The weights
            are the whole content, or stand in it under `"model"` or `"state_dict"`.

    Returns:
        `dict[str, torch.Tensor]`: In the order of the file, on the CPU, in the precision of the file.

    Raises:
        ValueError: If the file is truncated, is no checkpoint, or asks for more than tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise ValueError(f"{path} is empty: fetch it again")
    if path.suffix == ".safetensors":
        content = _read_safetensors(path)
    elif start.startswith(b"PK\x03\x04"):
        content = _read_zip(path)
    else:
        content = _read_pickle(path, start, mmap=False)
    weights = content
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            weights = content[key]
            break
    if not isinstance(weights, dict) or not weights:
        raise ValueError(f"{path} holds no weights: expected tensors by name, got {_described(content)}")
    foreign = [str(name) for name, value in weights.items() if not isinstance(value, torch.Tensor)]
    if foreign:
        raise ValueError(
            f"{path} holds no weights: expected tensors by name, got {_described(weights)}, "
            f"where {foreign[0]!r} is a {type(weights[foreign[0]]).__name__}"
        )
    return dict(weights)


def _described(content: Any) -> str:
    if isinstance(content, dict):
        return f"a dict with {', '.join(repr(key) for key in list(content)[:6]) or 'nothing in it'}"
    return f"a {type(content).__name__}"


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"cannot read {path} ({error}); {_CUT_OFF}") from error


def _read_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            damaged = archive.testzip()  # mapped files are not checked when they are read
    except zipfile.BadZipFile as error:
        raise ValueError(f"cannot read {path} ({error}); {_CUT_OFF}") from error
    if damaged is not None:
        raise ValueError(f"cannot read {path} (its record {damaged} does not match its checksum); {_CUT_OFF}")
    if any(name.endswith("/constants.pkl") for name in names):
        return read_torchscript_weights(path)
    return _read_pickle(path, b"", mmap=True)


def _read_pickle(path: Path, start: bytes, mmap: bool) -> Any:
    if not mmap and not start.startswith(b"\x80\x02"):  # what torch.save wrote before it wrote zip archives
        raise ValueError(f"{path} was not written by torch.save: it begins with {start!r}")
    try:
        with torch.serialization.safe_globals(ALLOWED_CLASSES):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, AttributeError) as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused is not None:
            raise ValueError(
                f"{path} was not read: it asks for the Python object {refused[1]}, which is more than weights; "
                f"only tensors, plain values and argparse.Namespace are taken from a checkpoint"
            ) from error
        raise ValueError(f"cannot read {path} ({str(error).splitlines()[0][:120]}); {_CUT_OFF}") from error


# ---- TorchScript ---------------------------------------------------------------------------------------------------


def read_torchscript_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """
    Reads the parameters and buffers of a TorchScript archive, such as OpenAI's CLIP, without loading its program.

    Args:
        path (`str` or `Path`): The archive.

    Returns:
        `dict[str, torch.Tensor]`: By the names the module's `state_dict()` would give, mapped from disk.

    Raises:
        ValueError: If the archive is damaged, or its data ask for more than tensors.
    """
    path = Path(path)
    with zipfile.ZipFile(path) as archive:
        data = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if data is None:
            raise ValueError(f"{path} is no TorchScript archive: it holds no data.pkl")
        file = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
        stream = io.BytesIO(archive.read(data))
        try:
            module = _ArchiveReader(stream, path, archive, file, data.removesuffix(".pkl")).load()
        except (pickle.UnpicklingError, EOFError, KeyError, IndexError, TypeError, struct.error) as error:
            raise ValueError(f"cannot read {path} ({error}); {_CUT_OFF}") from error
    return dict(_named_tensors(module, ""))


class _ScriptObject:
    """Stands for any object of the archive's program; holds its attributes and has no behaviour."""

    def __setstate__(self, state: Any):
        self.attributes = state


def _named_tensors(value: Any, prefix: str):
    for name, attribute in (getattr(value, "attributes", None) or {}).items():
        if isinstance(attribute, torch.Tensor):
            yield prefix + name, attribute
        elif isinstance(attribute, _ScriptObject):
            yield from _named_tensors(attribute, f"{prefix}{name}.")


def _build_tensor(storage, offset, size, stride, *_) -> torch.Tensor:
    dtype, untyped = storage
    return torch.empty(0, dtype=dtype).set_(untyped, offset, size, stride)


class _ArchiveReader(pickle.Unpickler):
    """Unpickles an archive's data with stand-ins for its classes and an allow-list for everything else."""

    ALLOWED = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _build_tensor,
        ("torch.jit._pickle", "restore_type_tag"): lambda value, tag: value,
        **{("torch.jit._pickle", f"build_{kind}list"): list for kind in ("int", "double", "bool", "tensor")},
    }

    STORAGES = {
        "DoubleStorage": torch.float64,
        "FloatStorage": torch.float32,
        "HalfStorage": torch.float16,
        "BFloat16Storage": torch.bfloat16,
        "LongStorage": torch.int64,
        "IntStorage": torch.int32,
        "ShortStorage": torch.int16,
        "CharStorage": torch.int8,
        "ByteStorage": torch.uint8,
        "BoolStorage": torch.bool,
    }

    def __init__(self, stream, path: Path, archive: zipfile.ZipFile, file: Any, folder: str):
        super().__init__(stream)
        self.path, self.archive, self.file, self.folder = path, archive, file, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return type(name, (_ScriptObject,), {})
        if module == "torch" and name in self.STORAGES:
            return self.STORAGES[name]
        if (module, name) in self.ALLOWED:
            return self.ALLOWED[module, name]
        raise ValueError(
            f"{self.path} was not read: it asks for the Python object {module}.{name}, which is more than weights"
        )

    def persistent_load(self, key: Any) -> tuple[torch.dtype, torch.UntypedStorage]:
        _, dtype, name, _, length = key
        entry = self.archive.getinfo(f"{self.folder}/{name}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != length * dtype.itemsize:
            raise ValueError(f"cannot read {self.path} (record {entry.filename}); {_CUT_OFF}")
        with self.path.open("rb") as stream:
            stream.seek(entry.header_offset + 26)  # the lengths of the name and of the extra field before the data
            begin = entry.header_offset + 30 + sum(struct.unpack("<HH", stream.read(4)))
        return dtype, self.file[begin : begin + entry.file_size]
