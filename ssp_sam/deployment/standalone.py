# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Copies code of this package to where the package is absent."""

import re
import shutil
from pathlib import Path

RELATIVE_IMPORT = re.compile(r"^(\s*)from (\.+)([\w.]+) import ", re.M)


def write_standalone(source: Path, target: Path, prefix: str = "") -> None:
    """
    Writes a file, which imports modules of the package relatively, as one that needs no package, and beside it what it
    imports and reads of the package, directly or not, as far as it is not there yet.

    Args:
        prefix: What stands before a module's name in an import: "." for code of the Hub; nothing for files whose folder
            is on the `sys.path` of who runs them.
    """
    code = source.read_text("utf-8")
    flat = RELATIVE_IMPORT.sub(lambda match: f"{match[1]}from {prefix}{match[3].split('.')[-1]} import ", code)
    target.write_text(flat, "utf-8")
    if '"assets"' in code:  # files that it reads, such as a font
        shutil.copytree(source.with_name("assets"), target.with_name("assets"), dirs_exist_ok=True)
    for _, dots, module in RELATIVE_IMPORT.findall(code):
        path = source.parents[len(dots) - 1].joinpath(*module.split(".")).with_suffix(".py")
        if not target.with_name(path.name).exists():
            write_standalone(path, target.with_name(path.name), prefix)
