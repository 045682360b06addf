# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What `mkdocs build` does beside its configuration: pages link to files of the repository outside docs/."""

import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
SHOWN = "examples/overlay.png"  # an image that pages show
OUTSIDE = re.compile(r"(!?)\[([^\]]*)\]\(\.\./([^)#]+)[^)]*\)")


def on_files(files, config):
    """Adds to the site what pages show."""
    files.append(File(SHOWN, str(ROOT), config["site_dir"], use_directory_urls=False))
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """Leaves the text of links to files that the site does not have; a table of inputs shows brackets as they are."""
    if page.file.src_path == "robustness.md":
        markdown = markdown.replace("][", "]\\[")
    return OUTSIDE.sub(lambda match: f"{match[1]}[{match[2]}]({match[3]})" if match[3] == SHOWN else match[2], markdown)
