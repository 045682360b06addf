# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads tensors by name from checkpoint files of any age, and runs nothing that such a file may carry.

Tensors are mapped from disk where the format allows it, so a large file costs no memory until it is used.
"""

import argparse
import collections
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from .pickle_check import MAX_BYTES, RefusedPickle, check_pickle

_CUT_OFF = "the file is truncated or damaged: fetch it again"
# What torch.save puts before everything else in files of its old form: a pickle of one number.
_OLD_FORM = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
# The records of a zip archive are as large as the archive, but for compressed programs in those of TorchScript.
_MOST_UNPACKED = 2


class CheckpointError(ValueError):
    """A file does not hold what was expected; the message is one sentence that names the file."""


def read_weights(path: str | Path, label: str | None = None) -> dict[str, torch.Tensor]:
    """
    Reads the weights of a checkpoint by name.

    Args:
        path (`str` or `Path`): A file of `torch.save`, old or new, a TorchScript archive, or safetensors. The weights
            are the whole content, or stand in it under `"model"` or `"state_dict"`.
        label (`str`, *optional*): What to call the file in messages; its path when not given.

    Returns:
        `dict[str, torch.Tensor]`: In the order of the file, on the CPU, in the precision of the file.

    Raises:
        CheckpointError: If the file is truncated, is no checkpoint, or asks for more than tensors.
    """
    path = Path(path)
    label = str(path) if label is None else label
    if not path.is_file():
        raise CheckpointError(f"there is no file {label}")
    try:
        weights = _weights_in(path)
        _check_sizes(path, weights)
    except CheckpointError as error:
        raise CheckpointError(str(error).replace(str(path), label)) from error
    except RefusedPickle as error:
        raise CheckpointError(
            f"{label} was not read: it asks for the Python object {error}, which is more than weights; "
            f"only tensors, plain values and argparse.Namespace are taken from a checkpoint"
        ) from error
    except Exception as error:  # readers of damaged files fail in every way there is
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise CheckpointError(f"cannot read {label} ({reason[:120]}); {_CUT_OFF}") from error
    return weights


def _weights_in(path: Path) -> dict[str, torch.Tensor]:
    with path.open("rb") as file:
        start = file.read(16)
    if not start:
        raise CheckpointError(f"{path} is empty: fetch it again")
    if path.suffix == ".safetensors":
        content: Any = load_file(path)
    elif start.startswith(b"PK\x03\x04"):
        content = _read_zip(path)
    elif start.startswith(_OLD_FORM[:2]):
        content = _read_old_form(path)
    else:
        raise CheckpointError(f"{path} was not written by torch.save: it begins with {start!r}")
    weights = content
    for key in ("model", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            weights = content[key]
            break
    if not isinstance(weights, dict) or not weights:
        raise CheckpointError(f"{path} holds no weights: expected tensors by name, got {_described(content)}")
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise CheckpointError(
                f"{path} holds no weights: expected tensors by name, got {_described(weights)}, "
                f"where {name!r:.80} is a {type(value).__name__}"
            )
    return {name: tensor.detach() for name, tensor in weights.items()}


def _described(content: Any) -> str:
    if isinstance(content, dict):
        return f"a dict with {', '.join(f'{key!r:.80}' for key in list(content)[:6]) or 'nothing in it'}"
    return f"a {type(content).__name__}"


def _check_sizes(path: Path, weights: dict[str, torch.Tensor]):
    # Strides of zero, and many names of one tensor, make much out of little.
    size, claimed = path.stat().st_size, 0
    for name, tensor in weights.items():
        if tensor.layout != torch.strided or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise CheckpointError(f"cannot read {path} (its tensor {name:.80} is larger than its data); {_CUT_OFF}")
        claimed += tensor.numel() * tensor.element_size()
    if claimed > 2 * size:
        raise CheckpointError(f"cannot read {path} (tensors of {claimed} bytes in a file of {size}); {_CUT_OFF}")


# ---- torch.save ----------------------------------------------------------------------------------------------------


class _Ignored:
    """Stands for objects of NumPy that a training wrote beside its weights, such as its best metric."""

    def __init__(self, *_):
        pass

    def __setstate__(self, state: Any):
        pass


_IGNORED = [
    (_Ignored, name)
    for name in (
        "numpy.dtype",
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
        "numpy.ndarray",
    )
]
_ALLOWED = {
    "argparse.Namespace",
    "collections.OrderedDict",
    "collections.Counter",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch.Size",
    "torch.device",
    "torch.nn.parameter.Parameter",
    "torch.storage.UntypedStorage",
    "_codecs.encode",
    *(name for _, name in _IGNORED),
}


def _is_allowed(module: str, name: str) -> bool:
    if module == "torch" and (name.endswith("Storage") or isinstance(getattr(torch, name, None), torch.dtype)):
        return True
    return f"{module}.{name}" in _ALLOWED


def _read_zip(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if sum(entry.file_size for entry in entries) > _MOST_UNPACKED * path.stat().st_size:
            raise ValueError("its records are larger than the file")
        damaged = archive.testzip()  # mapped files are not checked when they are read
        if damaged is not None:
            raise ValueError(f"its record {damaged} does not match its checksum")
        names = [entry.filename for entry in entries]
        if any(name.endswith("/constants.pkl") for name in names):
            return _read_torchscript(path, archive)
        for entry in entries:
            if entry.filename.endswith("/data.pkl"):
                _checked_pickle(archive, entry, _is_allowed)
    return _load(path, mmap=True)


def _checked_pickle(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, allowed: Callable[[str, str], bool]) -> bytes:
    if entry.file_size > MAX_BYTES:
        raise ValueError(f"its {entry.filename} is longer than {MAX_BYTES} bytes")
    data = archive.read(entry)
    check_pickle(io.BytesIO(data), allowed)
    return data


def _read_old_form(path: Path) -> Any:
    # One after the other: a number, a version, facts about the machine, the content, the names of the storages.
    with path.open("rb") as stream:
        if stream.read(len(_OLD_FORM)) != _OLD_FORM:
            raise CheckpointError(f"{path} was not written by torch.save: it is another kind of pickle")
        for _ in range(4):
            check_pickle(stream, _is_allowed)
    return _load(path, mmap=False)


def _load(path: Path, mmap: bool) -> Any:
    with torch.serialization.safe_globals([argparse.Namespace, *_IGNORED]):
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)


# ---- TorchScript ---------------------------------------------------------------------------------------------------


def _read_torchscript(path: Path, archive: zipfile.ZipFile) -> dict[str, torch.Tensor]:
    """Reads parameters and buffers by the names of `state_dict()`, mapped from disk; the program is not loaded."""
    data = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
    if data is None:
        raise CheckpointError(f"{path} is no TorchScript archive: it holds no data.pkl")
    stream = io.BytesIO(_checked_pickle(archive, archive.getinfo(data), _ArchiveReader.allows))
    file = torch.UntypedStorage.from_file(str(path), False, path.stat().st_size)
    module = _ArchiveReader(stream, path, archive, file, data.removesuffix(".pkl")).load()
    return dict(_named_tensors(module, "", set()))


class _ScriptObject:
    """Stands for any object of the archive's program; holds its attributes and has no behaviour."""

    def __setstate__(self, state: Any):
        self.attributes = state


def _named_tensors(value: Any, prefix: str, seen: set[int]):
    if id(value) in seen:
        raise ValueError(f"its module {prefix:.80} stands in it twice")
    seen.add(id(value))
    for name, attribute in (getattr(value, "attributes", None) or {}).items():
        if isinstance(attribute, torch.Tensor):
            yield prefix + name, attribute
        elif isinstance(attribute, _ScriptObject):
            yield from _named_tensors(attribute, f"{prefix}{name}.", seen)


# Not functions, whose defaults a pickle could change for the rest of the process.
class _BuildTensor:
    __slots__ = ()

    def __call__(self, storage, offset, size, stride, *_) -> torch.Tensor:
        dtype, untyped = storage
        return torch.empty(0, dtype=dtype).set_(untyped, offset, size, stride)


class _FirstArgument:
    __slots__ = ()

    def __call__(self, value, *_):
        return value


class _ArchiveReader(pickle.Unpickler):
    """Unpickles an archive's data with stand-ins for its classes and an allow-list for everything else."""

    ALLOWED = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _BuildTensor(),
        ("torch.jit._pickle", "restore_type_tag"): _FirstArgument(),
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

    @classmethod
    def allows(cls, module: str, name: str) -> bool:
        """Whether the data may ask for an object."""
        storage = module == "torch" and name in cls.STORAGES
        return storage or module.startswith("__torch__") or (module, name) in cls.ALLOWED

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return type(name, (_ScriptObject,), {})
        return self.STORAGES[name] if module == "torch" else self.ALLOWED[module, name]

    def persistent_load(self, key: Any) -> tuple[torch.dtype, torch.UntypedStorage]:
        _, dtype, name, _, length = key
        entry = self.archive.getinfo(f"{self.folder}/{name}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != length * dtype.itemsize:
            raise ValueError(f"its record {entry.filename} does not fit its tensor")
        with self.path.open("rb") as stream:
            stream.seek(entry.header_offset + 26)  # the lengths of the name and of the extra field before the data
            begin = entry.header_offset + 30 + sum(struct.unpack("<HH", stream.read(4)))
        return dtype, self.file[begin : begin + entry.file_size]
