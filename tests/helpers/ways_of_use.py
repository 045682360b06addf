# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Uses model repositories as a user's fresh process does, and reports what happened.

Run as `python -P ways_of_use.py PLAN.json REPORTS.json WAY …`; the plan names repositories, a picture and expressions.
"""

import importlib.util
import json
import sys
import tempfile

import numpy as np

WAYS = {
    "package absent, code trusted": {"package": False, "trust_remote_code": True},
    "package imported, nothing trusted": {"package": True, "trust_remote_code": None},
    "package imported, code trusted": {"package": True, "trust_remote_code": True},
}


class Hidden:
    """An import hook for which the package is not installed."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "ssp_sam":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def described(results: list[dict]) -> list[dict]:
    """Results of the pipeline as JSON, masks as the hexadecimal digits of their bits."""
    return [
        {
            "label": result["label"],
            "score": round(result["score"], 4),
            "box": result["box"],
            "no_target": result["no_target"],
            "mask": np.packbits(np.asarray(result["mask"]) > 0).tobytes().hex(),
        }
        for result in results
    ]


def refusal(call) -> str:
    """The error that a call ends with, or what it returned."""
    try:
        return f"no error, but {call()!r:.80}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def serve(folder: str, request: dict) -> list[dict]:
    """What the `handler.py` of a folder answers, which an endpoint loads by its path."""
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("handler", f"{folder}/handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(folder)(request)


def use(way: str, plan: dict) -> dict:
    """Loads the repository in every form, saves it, loads what was saved, serves a folder."""
    if not WAYS[way]["package"]:
        sys.meta_path.insert(0, Hidden())
    else:
        import ssp_sam  # noqa: F401
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor, pipeline

    trust = {"trust_remote_code": WAYS[way]["trust_remote_code"]}
    repository = plan["repository"]
    report: dict = {"modules": {}, "answers": {}, "refusals": {}}

    def answers(name: str, segment):
        report["modules"][name] = type(segment).__module__
        report["answers"][name] = described(segment(plan["picture"], plan["expressions"]))

    for auto in (AutoConfig, AutoModel, AutoProcessor, AutoImageProcessor):
        report["modules"][auto.__name__] = type(auto.from_pretrained(repository, **trust)).__module__
    answers("named task", named := pipeline("referring-segmentation", model=repository, device="cpu", **trust))
    answers("no task", pipeline(model=repository, device="cpu", **trust))
    for name, other in plan.get("others", {}).items():
        answers(name, pipeline("referring-segmentation", model=other, device="cpu", **trust))
    with tempfile.TemporaryDirectory() as folder:
        named.save_pretrained(folder)
        answers("saved again", pipeline(model=folder, device="cpu", **trust))
    for name, other in plan.get("refused", {}).items():
        report["refusals"][name] = refusal(lambda other=other: AutoModel.from_pretrained(other, **trust))
    if not WAYS[way]["package"]:
        for name, value in (("trust unset", None), ("trust refused", False)):
            report["refusals"][name] = refusal(
                lambda value=value: AutoModel.from_pretrained(repository, trust_remote_code=value)
            )
        report["package"] = refusal(lambda: __import__("ssp_sam"))
    if "served" in plan:
        report["served"] = serve(**plan["served"])
    return report


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    reports = {way: use(way, plan) for way in sys.argv[3:]}
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(reports, file)
