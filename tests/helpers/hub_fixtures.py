# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What the tests of export and Hub share: an exported tiny model, parts of a card, and fresh processes that use it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from huggingface_hub import ModelCard

from ssp_sam.hub.card import ModelFacts
from ssp_sam.hub.export import export_model
from ssp_sam.hub.samples import Sample
from tests.helpers import ways_of_use
from tests.helpers.hub_server import LocalHub
from tests.helpers.models import make_image

ROOT = Path(__file__).resolve().parents[2]
EXPRESSIONS = ["the red car", "all the apples on the left", "a dog"]


def export_tiny(checkpoint: str, folder: Path, **options) -> Path:
    """Exports the tiny checkpoint with a sample picture, which lies beside the export."""
    picture = folder.parent / "picture.png"
    make_image(48, 36).save(picture)
    facts = ModelFacts(repo_id="someone/tiny", licence="apache-2.0")
    return export_model(
        checkpoint, folder, **{"facts": facts, "samples": [Sample(picture, tuple(EXPRESSIONS))], **options}
    )


def section(card: ModelCard, title: str) -> str:
    """The text below a heading of a model card."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", card.text, re.M | re.S)[1].strip()


def online(hub: LocalHub) -> dict[str, str]:
    """The environment of a process for which this is the Hub; plain LFS, since the server speaks no Xet."""
    return {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}


def use_in_fresh_process(ways: list[str], plan: dict, scratch: Path, **environment: str) -> dict[str, dict]:
    """
    Runs `ways_of_use` in a process of its own that knows no model and no code from before.

    Args:
        ways: Keys of `WAYS`, one after another; they agree in whether the package is there.
        plan: What is used.
        scratch: Its working folder, with its `HF_HOME` in `hf`.
        environment: Variables beside those of this process.

    Returns:
        The report of each way.
    """
    (scratch / "plan.json").write_text(json.dumps(plan), "utf-8")
    package = {"PYTHONPATH": str(ROOT)} if ways_of_use.WAYS[ways[0]]["package"] else {}
    environment = {**os.environ, "HF_HOME": str(scratch / "hf"), "OMP_NUM_THREADS": "1", **package, **environment}
    command = [sys.executable, "-P", ways_of_use.__file__, "plan.json", "reports.json", *ways]
    done = subprocess.run(
        command, cwd=scratch, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads((scratch / "reports.json").read_text("utf-8"))
