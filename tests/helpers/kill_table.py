# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The table of docs/crashes.md: how often tests kill each command; they write it where `WRITE_CRASHES` is set."""

import os
import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "crashes.md"
_HEAD = "| command | kills | of them before its end | lost, half, twice or left behind |\n|---|---|---|---|\n"
_ROW = re.compile(r"\| (?P<name>.+) \| (?P<kills>\d+) \| (?P<died>\d+) \| 0 \|\n")


def count_kills(name: str, kills: int, died: int):
    """
    Adds a row, or makes sure that the document has it; called when nothing was found amiss.

    Args:
        name: The command, and under which circumstances.
        kills: How many runs were to be killed.
        died: How many of them were killed before their end.
    """
    assert died > kills // 2, f"of {kills} runs of {name} only {died} were killed before their end"
    if "WRITE_CRASHES" not in os.environ:
        assert read_kills().get(name, (0, 0))[0] == kills, f"{DOCUMENT.name} has another number of kills of {name}"
        return
    rows = read_kills() | {name: (kills, died)}
    rows = {key: rows[key] for key in sorted(rows) if key != "all"}
    rows["all"] = tuple(map(sum, zip(*rows.values())))
    table = _HEAD + "".join(f"| {key} | {value[0]} | {value[1]} | 0 |\n" for key, value in rows.items())
    before, after = DOCUMENT.read_text("utf-8").split(_HEAD)
    DOCUMENT.write_text(before + table + after[len("".join(match[0] for match in _ROW.finditer(after))) :], "utf-8")


def read_kills() -> dict[str, tuple[int, int]]:
    """Returns the kills, and those before the end of a run, by the commands of the table."""
    return {row["name"]: (int(row["kills"]), int(row["died"])) for row in _ROW.finditer(DOCUMENT.read_text("utf-8"))}
