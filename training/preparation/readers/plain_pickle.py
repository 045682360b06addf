# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads pickled annotations, of Python 2 as well, and runs nothing that such a file may carry."""

import codecs
import collections
import pickle
from pathlib import Path
from typing import Any

_BUILTINS = ("builtins", "__builtin__")


ALLOWED = {
    **{(module, name): kind for module in _BUILTINS for name, kind in {"set": set, "frozenset": frozenset}.items()},
    ("collections", "OrderedDict"): collections.OrderedDict,
}


def load_plain_pickle(path: str | Path) -> Any:
    """
    Returns what a pickle holds: lists, tuples, dicts, sets, strings, numbers, true, false and nothing else.

    Byte strings of Python 2 become text, from UTF-8 where they are, otherwise from Latin-1.

    Args:
        path: The file.

    Raises:
        ValueError: The file asks for any other Python object, which is named, or is no pickle, or is cut off.
    """
    try:
        with open(path, "rb") as stream:
            content = _PlainUnpickler(stream, encoding="bytes", fix_imports=True).load()
        return _with_text(content, {})
    except _Refused as error:
        raise ValueError(
            f"{str(path)!r} was not read: it asks for {error}, which is more than plain data; "
            f"only containers, strings and numbers are taken from a pickle"
        ) from error
    except OSError as error:
        raise ValueError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except RecursionError as error:
        raise ValueError(f"cannot read {str(path)!r}: its containers are nested without end") from error
    # A damaged pickle makes the reader of the standard library fail in many ways.
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise ValueError(f"cannot read {str(path)!r} as a pickle ({error}); fetch the file again") from error
    except (MemoryError, OverflowError, ImportError) as error:
        raise ValueError(f"cannot read {str(path)!r} as a pickle ({error!r}); fetch the file again") from error


class _Refused(Exception):
    """The pickle asks for something that is not plain data; says for what."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):

            def encode_latin1(text: str, encoding: str = "latin1") -> bytes:
                """How protocols up to 2 spell bytes; no other encoding is used for that."""
                if codecs.lookup(encoding).name != "iso8859-1":
                    raise pickle.UnpicklingError(f"bytes are spelled in latin1, got the encoding {encoding!r}")
                return text.encode("latin1")

            return encode_latin1  # a new one each time: what a pickle may do to it is gone with the pickle
        if (module, name) not in ALLOWED:
            raise _Refused(f"the Python object {module}.{name}")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise _Refused(f"the outside object {pid!r}")


def _with_text(value: Any, done: dict[int, tuple[Any, Any]]) -> Any:
    """The value with all bytes decoded; what occurs twice is converted once."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin1")
    if not isinstance(value, list | tuple | dict | set | frozenset):
        return value
    if id(value) in done:
        return done[id(value)][1]
    if isinstance(value, dict):
        converted: Any = {_with_text(key, done): _with_text(item, done) for key, item in value.items()}
    else:
        converted = type(value)(_with_text(item, done) for item in value)
    done[id(value)] = (value, converted)  # the value itself is kept, so that its id is not given to another
    return converted
