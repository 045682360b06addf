# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Changes valid files at random: one value, the structure around it, or bytes; what was changed is told."""

import copy
import io
import json
import pickle
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet as parquet

ODD_VALUES = [
    *(None, True, False, 0, -1, 1, 7, 2.5, 48.0, -0.0, 1e-9, 1e308, float("nan"), float("inf"), float("-inf")),
    *(2**31, 2**63, 2**70, -(2**70), 10**400),
    *("", " ", "\t", "²", "48", "48.0", "-7", "NaN", "None", "a\nb", "\0", "\x1b[31m", "\ud83d", "e\u0301", "\u202e"),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "C:\\x.jpg",
        "x" * 5000,
        "a/" * 3000,
        "train",
        "val",
        "{}",
        "[]",
        "%00",
        "//[",
    ),
    *([], {}, [[]], [None], [[[[]]]], [0] * 7, [1, 2], [0, 0, 1, 1], [1e9] * 6, ["a"], {"a": 1}, {"size": [1, 1]}),
]


@dataclass(frozen=True)
class Mutation:
    """
    What was changed.

    Args:
        file: The file's name.
        kind: What was done.
        path: Names and indices down to the changed value; empty where bytes were changed.
    """

    file: str
    kind: str
    path: tuple = ()

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} at {'/'.join(map(str, self.path)) or 'random'}"

    def touches(self, names: set[str]) -> bool:
        """Whether a field of these names, or something inside of one or around one, was changed."""
        return self.kind in ("swap", "copy") or not self.path or not names.isdisjoint(map(str, self.path))


def mutate_file(path: Path, generator: random.Random) -> Mutation:
    """Changes a file, its values where its format is known, or its bytes."""
    content = load_values(path) if generator.random() < 0.8 else None
    if content is None:
        path.write_bytes(data := mutated_bytes(path.read_bytes(), generator))
        return Mutation(path.name, f"bytes, {len(data)} now")
    content, kind, place = mutated_value(content, generator)
    try:
        save_values(path, content)
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):  # columns of one type hold no such value
        return Mutation(path.name, "nothing")
    return Mutation(path.name, kind, place)


def mutated_bytes(data: bytes, generator: random.Random) -> bytes:
    """The bytes with some changed, cut off, put in, taken out or repeated."""
    kind = generator.choice(["change", "change", "cut", "put in", "take out", "repeat"])
    first = generator.randrange(len(data) + 1)
    if kind == "cut":
        return data[:first]
    if kind == "change":
        changed = bytearray(data)
        for _ in range(generator.choice([1, 1, 1, 3, 20])):
            changed[generator.randrange(len(data))] = generator.randrange(256)
        return bytes(changed)
    length = generator.choice([1, 1, 4, 50])
    if kind == "take out":
        return data[:first] + data[first + length :]
    return (
        data[:first]
        + (generator.randbytes(length) if kind == "put in" else data[first : first + length])
        + data[first:]
    )


def mutated_value(content: Any, generator: random.Random) -> tuple[Any, str, tuple]:
    """The content with one value of it changed, what was done, and where."""
    content = copy.deepcopy(content)
    nodes = list(_nodes(content, ()))
    # As often a record's field as any of the many numbers at the bottom.
    depth = generator.choice(sorted({len(path) for _, _, path in nodes}))
    holder, key, path = generator.choice([node for node in nodes if len(node[2]) == depth])
    kind = generator.choice("replace replace replace delete double rename swap copy wrap text scale".split())
    if kind == "replace":
        holder[key] = copy.deepcopy(generator.choice(ODD_VALUES))
    elif kind == "delete":
        del holder[key]
    elif kind == "double" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif kind in ("double", "rename") and isinstance(holder, dict):
        holder[f"{key}_"] = holder[key] if kind == "double" else holder.pop(key)
    elif kind == "swap":
        other = generator.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        holder[key], holder[other] = holder[other], holder[key]
    elif kind == "copy":
        other_holder, other, _ = generator.choice(nodes)
        holder[key] = copy.deepcopy(other_holder[other])
    elif kind == "text":
        holder[key] = str(holder[key])
    elif kind == "scale" and isinstance(holder[key], int | float):
        holder[key] *= generator.choice([-1, 0.01, 1000, 1e6])
    else:
        holder[key] = [holder[key]]
    return content, kind, path


def _nodes(content: Any, path: tuple):
    keys = list(content) if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in keys:
        yield content, key, (*path, key)
        yield from _nodes(content[key], (*path, key))


def load_values(path: Path) -> Any:
    """The content of a file whose values can be changed; None of any other."""
    if path.suffix == ".json":
        return json.loads(path.read_bytes())
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if path.suffix == ".p":
        return pickle.loads(path.read_bytes())
    if path.suffix == ".parquet":
        return [_with_json(row) for row in parquet.read_table(path).to_pylist()]
    return None


def _with_json(row: dict) -> dict:
    """A row in which fields that are JSON in text can be changed, too."""
    return {name: _Json(json.loads(value)) if name.startswith("raw_") else value for name, value in row.items()}


class _Json(dict):
    """What is stored as JSON in text."""


def save_values(path: Path, content: Any):
    if path.suffix == ".json":
        path.write_text(json.dumps(content))
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(line)}\n" for line in content))
    elif path.suffix == ".p":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        rows = [
            {name: json.dumps(value) if isinstance(value, _Json) else value for name, value in row.items()}
            if isinstance(row, dict)
            else {"row": row}
            for row in content
        ]
        stream = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(rows), stream)
        path.write_bytes(stream.getvalue())
