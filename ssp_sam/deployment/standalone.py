# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Copies the code of this folder to where the package is absent."""

import re
from pathlib import Path

LOCAL_IMPORT = re.compile(r"^from \.(\w+) import ", re.M)


def write_standalone(source: Path, target: Path) -> None:
    """
    Writes a file of this folder as one that needs no package, and beside it those of this folder that it imports.

    Args:
        source: the file.
        target: the file to write; the others keep their names. All must lie in one folder that is on `sys.path`.
    """
    code = source.read_text("utf-8")
    target.write_text(LOCAL_IMPORT.sub(r"from \1 import ", code), "utf-8")
    for module in LOCAL_IMPORT.findall(code):
        write_standalone(source.with_name(f"{module}.py"), target.with_name(f"{module}.py"))
