# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Decides by the instructions of a pickle whether it may be built: what it asks for, and what it would cost.

A reader of pickles refuses foreign objects while it builds; some small files have by then taken gigabytes (one index of
the memo) or minutes (keys that are slow to hash). Here nothing is built at all.
"""

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

# What torch.save and torch.jit.save write, in protocol 2.
INSTRUCTIONS = frozenset(
    "PROTO STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS "
    "GLOBAL REDUCE NEWOBJ BUILD BINPERSID BINGET LONG_BINGET BINPUT LONG_BINPUT".split()
)
# Names, shapes and settings of a checkpoint with a thousand tensors and its optimizer take some hundred kilobytes.
MAX_BYTES = 4 * 2**20
# Strings, numbers and objects in a tuple, and in one that is a key, counted as often as they occur in it.
MAX_PARTS, MAX_KEY_PARTS = 1000, 64

_ATOMS = frozenset(
    "BININT BININT1 BININT2 LONG1 BINUNICODE SHORT_BINSTRING NONE NEWTRUE NEWFALSE GLOBAL EMPTY_TUPLE".split()
)


class RefusedPickle(Exception):
    """The pickle asks for a Python object that is not allowed; the message is its name."""


@dataclass(frozen=True, slots=True)
class _Value:
    """What is known of a value that the pickle would build.

    Args:
        parts: How many strings, numbers and objects it consists of, None where it is no tuple of them.
        content: The text, the number, the name of the object, or the values in a tuple.
    """

    parts: int | None = None
    content: object = None


_MARK = _Value()


def check_pickle(stream: BinaryIO, allowed: Callable[[str, str], bool]):
    """
    Reads one pickle up to its end and builds nothing.

    Args:
        stream (`BinaryIO`): Stands at the beginning of the pickle, and afterwards behind its end.
        allowed (`Callable[[str, str], bool]`): Whether the object of this module and name may be asked for.

    Raises:
        RefusedPickle: If it asks for an object that is not allowed.
        ValueError: If it is longer than `MAX_BYTES`, cut off, or holds instructions or keys that no checkpoint has.
    """
    stack: list[_Value] = []
    memo: dict[int, _Value] = {}
    for instruction, argument, _ in pickletools.genops(_Bounded(stream, MAX_BYTES)):
        name = instruction.name
        if name not in INSTRUCTIONS:
            raise ValueError(f"its pickle holds the instruction {name}, which no checkpoint needs")
        if name == "GLOBAL" and not allowed(*str(argument).split(" ", 1)):
            raise RefusedPickle(str(argument).replace(" ", "."))
        if isinstance(argument, int) and not -(2**63) <= argument < 2**63:  # could all be chosen to have one hash
            raise ValueError(f"its pickle holds a number of {argument.bit_length()} bits")
        if name.endswith("PUT"):
            # To some readers the memo is an array, so that one index costs as much memory as all below it.
            if not isinstance(argument, int) or argument >= MAX_BYTES or not stack:
                raise ValueError(f"its pickle holds the memo index {argument}")
            memo[argument] = stack[-1]
        elif name.endswith("GET"):
            if argument not in memo:
                raise ValueError(f"its pickle reads the memo index {argument}, which it did not set")
            stack.append(memo[argument])
        elif name not in ("PROTO", "STOP"):
            _execute(instruction, argument, stack)


def _execute(instruction: pickletools.OpcodeInfo, argument: object, stack: list[_Value]):
    """Takes the operands of an instruction off the stack and puts what is known of its result there."""
    name, operands = instruction.name, [operand.name for operand in instruction.stack_before]
    if "mark" in operands:
        start = len(stack) - 1
        while start >= 0 and stack[start] is not _MARK:
            start -= 1
        items = stack[start + 1 :]
        del stack[max(start, 0) :]
        operands = operands[: operands.index("mark")]
        if start < 0:
            raise ValueError(f"its pickle does not make sense at the instruction {name}")
    else:
        items = stack[len(stack) - len(operands) :] if operands else []
    if len(operands) > len(stack) or any(value is _MARK for value in stack[len(stack) - len(operands) :]):
        raise ValueError(f"its pickle does not make sense at the instruction {name}")
    del stack[len(stack) - len(operands) :]

    if name in ("SETITEM", "SETITEMS", "BINPERSID"):  # tensors are looked up by what stands before BINPERSID
        keys = items[1:2] if name == "SETITEM" else items[::2]
        if any(key.parts is None or key.parts > MAX_KEY_PARTS for key in keys):
            raise ValueError("its pickle holds a key that is no string, number or short tuple of them")
    if name == "BUILD" and items[0].parts is not None:
        raise ValueError("its pickle changes an object that it did not make")
    if name == "REDUCE" and items[0].content == "_codecs encode":  # how protocol 2 spells bytes; other codecs are slow
        arguments = items[1].content
        if not isinstance(arguments, tuple) or [value.content for value in arguments[1:]] != ["latin1"]:
            raise ValueError("its pickle spells bytes in another way than latin1")
    stack += [_result(name, argument, items) for _ in instruction.stack_after]


def _result(name: str, argument: object, items: list[_Value]) -> _Value:
    if name == "MARK":
        return _MARK
    if name in _ATOMS:
        return _Value(1, argument)
    if not name.startswith("TUPLE"):
        return _Value()
    parts = [item.parts for item in items]
    total = None if None in parts else 1 + sum(part or 0 for part in parts)
    if total is not None and total > MAX_PARTS:
        raise ValueError(f"its pickle holds a tuple of more than {MAX_PARTS} values")
    return _Value(total, tuple(items))


class _Bounded:
    """A stream of which only so many bytes can be read."""

    def __init__(self, stream: BinaryIO, limit: int):
        self.stream, self.left = stream, limit

    def read(self, size: int) -> bytes:
        return self._counted(self.stream.read(min(size, self.left + 1)))

    def readline(self) -> bytes:
        return self._counted(self.stream.readline(self.left + 1))

    def _counted(self, data: bytes) -> bytes:
        if len(data) > self.left:
            raise ValueError(f"its pickle is longer than {MAX_BYTES} bytes")
        self.left -= len(data)
        return data
