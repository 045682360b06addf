# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads pickled annotations, of Python 2 as well, as data: nothing that a file names is called, and no object is changed.

The reader is the standard library's in Python, with the instructions that data needs. Its memory grows with the file
alone, where the one in C takes gigabytes for one index of its memo.
"""

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .records import PreparationError, reading

# Protocols up to 3 spell sets and byte strings as calls of these.
_KINDS = {
    **{f"{module}.{kind}": kind for module in ("builtins", "__builtin__") for kind in ("set", "frozenset")},
    "collections.OrderedDict": "dict",
    "_codecs.encode": "bytes",
}
_INSTRUCTIONS = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT "
    "BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES "
    "BINBYTES8 TUPLE EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 LIST EMPTY_LIST APPEND APPENDS DICT EMPTY_DICT SETITEM SETITEMS "
    "EMPTY_SET ADDITEMS FROZENSET GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL REDUCE "
    "PERSID BINPERSID"
).split()


def load_plain_pickle(path: str | Path) -> Any:
    """
    Returns what a pickle holds: lists, tuples, dicts, sets, text, numbers, true, false and nothing else; byte strings
    become text, from UTF-8 where they are, otherwise from Latin-1.

    Raises:
        PreparationError: The file asks for any other Python object, which is named, or is no pickle, or is cut off.
    """
    with reading(path):
        return _PlainUnpickler(path).load()


class _Kind:
    """A kind of container by its name, which is filled by the next call."""

    def __init__(self, name: str):
        self.name = name

    def of(self, values: Any = (), encoding: Any = None) -> Any:
        if self.name == "bytes":
            if encoding not in ("latin1", None):
                raise pickle.UnpicklingError(f"bytes are spelled in latin1, got the encoding {encoding!r:.40}")
            return _text(values.encode("latin1"))
        if self.name == "dict":
            return {_key(key): value for key, value in values}
        return (set if self.name == "set" else frozenset)(map(_key, values))


def _key(key: Any) -> Any:
    """The key, if it is found quickly: of large numbers and of tuples, thousands can be chosen to have one hash."""
    if key is None or isinstance(key, str | float) or (isinstance(key, int) and -(2**63) <= key < 2**63):
        return key
    raise pickle.UnpicklingError(f"a key must be text or a number of at most 64 bits, got a {type(key).__name__}")


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin1")


def _as_text(load: Callable[[Any], None]) -> Callable[[Any], None]:
    def load_text(self):
        load(self)
        self.stack[-1] = _text(self.stack[-1])

    return load_text


_Unpickler = pickle._Unpickler  # pyright: ignore[reportAttributeAccessIssue]


class _PlainUnpickler(_Unpickler):
    # The names of its methods are those of the standard library's.

    def __init__(self, path: str | Path):
        super().__init__(io.BytesIO(Path(path).read_bytes()), encoding="bytes")
        self.path = path

    def refuse(self, what: str):
        raise PreparationError(
            f"{str(self.path)!r} was not read: it asks for {what}, which is more than plain data; "
            f"only containers, strings and numbers are taken from a pickle"
        )

    load_binbytes = _as_text(_Unpickler.load_binbytes)
    load_short_binbytes = _as_text(_Unpickler.load_short_binbytes)
    load_binbytes8 = _as_text(_Unpickler.load_binbytes8)

    def _decode_string(self, value: bytes) -> str:
        return _text(value)

    def find_class(self, module: str, name: str) -> _Kind:
        if f"{module}.{name}" not in _KINDS:
            self.refuse(f"the Python object {module}.{name}")
        return _Kind(_KINDS[f"{module}.{name}"])

    def persistent_load(self, pid: Any) -> Any:
        self.refuse("an outside object")

    def load_reduce(self):
        arguments, kind = self.stack.pop(), self.stack.pop()
        if not isinstance(kind, _Kind):
            self.refuse(f"a call of a {type(kind).__name__}")
        self.append(kind.of(*arguments))

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][_key(key)] = value

    def load_setitems(self):
        items = self.pop_mark()
        filled = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            filled[_key(key)] = value

    def load_dict(self):
        items = self.pop_mark()
        self.append({_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)})

    def load_additems(self):
        items = self.pop_mark()
        self.stack[-1].update(map(_key, items))

    def load_frozenset(self):
        items = self.pop_mark()
        self.append(frozenset(map(_key, items)))


class _Instructions(dict[int, Callable[[_PlainUnpickler], None]]):
    """What each instruction does, by its code."""

    def __missing__(self, code: int) -> Callable[[_PlainUnpickler], None]:
        known = pickletools.code2op.get(chr(code))
        if known is None:
            raise pickle.UnpicklingError(f"no instruction has the code {code}")
        return lambda reader: reader.refuse(f"the instruction {known.name}")


_CODES = [getattr(pickle, name)[0] for name in _INSTRUCTIONS]
_PlainUnpickler.dispatch = _Instructions(
    {code: getattr(_PlainUnpickler, _Unpickler.dispatch[code].__name__) for code in _CODES}
)
