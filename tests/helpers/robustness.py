# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The table of docs/robustness.md: what every door returns for every input, or the sentence that it says.

A test that has the fixture `rows` tries its inputs and adds one row for each:

    def test_odd_inputs_at_the_processor(rows):
        rows.add("processor", "an empty list", attempt(lambda: processor(images=[])))

At the end of the test, the fixture fails if a row is no result and no sentence, took longer than `MOST_SECONDS`, or
is not in the document as the same kind of outcome. To write the document anew:

    WRITE_ROBUSTNESS=1 python -m pytest -p no:randomly -n 0 -m "long or not long" -k robust

All rows of one door come from one file, whose name starts with `test_robust_`.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "robustness.md"
MOST_SECONDS = 20.0
MOST_CHARACTERS = 400  # of a sentence
# What only the inside of a program says.
INTERNAL = re.compile(
    r"Traceback|has no attribute|unexpected keyword|_sanitize|not subscriptable|not iterable|unhashable|NoneType' obj|"
    r"positional argument|^unexpected |list index|broadcast together|dtype=object|Errno"
)
INTRODUCTION = """# What each door says to odd input

A door is a way in: a class, a command, a server, a reader of files. For each input, the table has what comes back, or
the sentence that says what was wrong. No input leads to a traceback, to a wrong result without a word, or takes more
than {seconds:g} seconds. `…` stands for a folder of the run that wrote the table:

```bash
{command}
```
"""
COMMAND = 'WRITE_ROBUSTNESS=1 python -m pytest -p no:randomly -n 0 -m "long or not long" -k robust'


@dataclass(frozen=True)
class Outcome:
    """
    What came of an attempt.

    Args:
        returned: what came back, in a few words; empty where an error came.
        sentence: the error's message; empty where there was none.
        seconds: how long it took.
        fault: why this is no good outcome whatever it says, such as an error of the wrong type.
    """

    returned: str = ""
    sentence: str = ""
    seconds: float = 0.0
    fault: str = ""


def attempt(
    call: Callable[[], Any],
    describe: Callable[[Any], str] = str,
    told: tuple[type[BaseException], ...] = (ValueError, TypeError),
) -> Outcome:
    """
    Tries what a test is about.

    Args:
        call: the attempt.
        describe: says in a few words what it returned.
        told: the errors that a user of this door is told by; another one is a fault.
    """
    start = time.monotonic()
    try:
        returned, sentence, fault = describe(call()), "", ""
    except told as error:
        returned, sentence, fault = "", str(error), ""
    except Exception as error:
        returned, sentence, fault = "", str(error), f"raised {type(error).__name__}"
    return Outcome(returned, sentence, time.monotonic() - start, fault)


class Rows:
    """
    The rows of one test.

    Args:
        folder: whose path is not shown.
        document: where the table is.
        writes: whether it is written; else the rows are compared with it.
    """

    begun: set[str] = set()  # doors whose earlier rows this process has dropped from the document

    def __init__(self, folder: Path, document: Path = DOCUMENT, writes: bool = "WRITE_ROBUSTNESS" in os.environ):
        self.folder = folder
        self.document = document
        self.writes = writes
        self.table: dict[tuple[str, str], Outcome] = {}

    def add(self, door: str, name: str, outcome: Outcome, expected: str | None = None) -> None:
        """
        Adds a row.

        Args:
            door: the way in, such as "processor".
            name: what was handed in, in a few words.
            outcome: what came of it.
            expected: "result" or "sentence" where it must be that; None where either will do.
        """
        fault = outcome.fault
        if (door, name) in self.table:
            fault = "the row stands twice"
        elif expected is not None and (expected == "result") != bool(outcome.returned):
            fault = f"a {expected} was expected"
        self.table[door, name] = Outcome(outcome.returned, outcome.sentence, outcome.seconds, fault or outcome.fault)

    def finish(self) -> None:
        """
        Checks all rows, and compares or writes the document.

        Raises:
            AssertionError: With every row that is no good outcome, or not in the document.
        """
        problems = [
            f"{door} | {name}: {problem} | {outcome.returned or outcome.sentence:.300}"
            for (door, name), outcome in self.table.items()
            if (problem := problem_of(outcome))
        ]
        if problems:
            raise AssertionError("\n".join([f"{len(problems)} of {len(self.table)} rows:", *problems]))
        rows = read_rows(self.document)
        mine = {
            (cell(door), cell(name)): (self._shown(outcome.returned), self._shown(outcome.sentence))
            for (door, name), outcome in self.table.items()
        }
        if self.writes:
            new = {door for door, _ in mine} - self.begun
            self.begun.update(new)
            write_rows(self.document, {key: row for key, row in rows.items() if key[0] not in new} | mine)
            return
        missing = [
            " | ".join([*key, row[0] or row[1]])
            for key, row in mine.items()
            if key not in rows or bool(rows[key][0]) != bool(row[0])
        ]
        if missing:
            note = f"rows that {self.document.name} does not have like this; run: {COMMAND}"
            raise AssertionError("\n".join([note, *missing]))

    def _shown(self, text: str) -> str:
        text = text.replace(str(self.folder), "…")
        text = re.sub(re.escape(str(self.folder.parents[1])) + "[^' ]*", "…", text)  # a path that was cut off
        text = re.sub(r"127\.0\.0\.1:\d{4,}", "127.0.0.1:PORT", text)
        return cell(re.sub(r"\b0x[0-9a-f]{6,}", "0x…", text))


def problem_of(outcome: Outcome) -> str:
    """Returns why an outcome is none that a user should meet; nothing where it is a good one."""
    if outcome.fault:
        return outcome.fault
    if outcome.seconds > MOST_SECONDS:
        return f"took {outcome.seconds:.0f} s"
    if outcome.returned:
        return ""
    if not outcome.sentence.strip():
        return "says nothing"
    if "\n" in outcome.sentence.strip():
        return "says more than one line"
    if len(outcome.sentence) > MOST_CHARACTERS:
        return f"says {len(outcome.sentence)} characters"
    if INTERNAL.search(outcome.sentence):
        return "speaks of the inside of the program"
    return ""


# ---- the document ---------------------------------------------------------------------------------------------------


def cell(text: str) -> str:
    """Returns a text as a cell of a Markdown table holds it."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    for sign in ("&", "<", ">", "|", "*", "`", "_"):
        text = text.replace(sign, {"&": "&amp;", "<": "&lt;", ">": "&gt;"}.get(sign, f"\\{sign}"))
    return text.strip()


def read_rows(document: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """Returns what is returned and said by door and input, as cells."""
    rows, door = {}, ""
    for line in document.read_text("utf-8").splitlines() if document.is_file() else ():
        if line.startswith("## "):
            door = line[3:]
        elif line.startswith("| ") and door:
            name, returned, sentence = (part.strip() for part in re.split(r"(?<!\\)\|", line)[1:4])
            rows[door, name] = (returned, sentence)
    return {key: row for key, row in rows.items() if key[1] != "input"}


def write_rows(document: Path, rows: dict[tuple[str, str], tuple[str, str]]) -> None:
    """Writes the document; `rows` are cells."""
    parts = [INTRODUCTION.format(seconds=MOST_SECONDS, command=COMMAND)]
    for door in sorted({door for door, _ in rows}):
        own = {name: row for (other, name), row in rows.items() if other == door}
        parts.append(f"## {door}\n\n| input | returned | or the sentence |\n|---|---|---|\n")
        parts[-1] += "".join(f"| {name} | {returned} | {said} |\n" for name, (returned, said) in own.items())
    document.write_text("\n".join(parts), "utf-8")
