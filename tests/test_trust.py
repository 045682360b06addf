# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Files are data: nothing in the sources runs what a file, a checkpoint or a repository of the Hub may carry."""

import ast
from collections.abc import Iterator

import pytest

from tests.test_layout import MODULES, ROOT

SOURCES = sorted({*MODULES.values(), *(ROOT / "scripts").rglob("*.py")})
PICKLES = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
# Readers whose `find_class` gives out nothing but stand-ins and plain types, and a script that writes a pickle.
READERS = {"training/preparation/readers/plain_pickle.py", "modeling_ssp_sam/conversion/checkpoint_files.py"}
WRITERS = {"scripts/measure_preparation.py"}
UNPICKLERS = {"pickle.Unpickler", "pickle._Unpickler"}
OF_READERS = UNPICKLERS | {"pickle.UnpicklingError"}
# Loads, in a process of its own, what `ssp-sam export` has just written, to see that it works without this package.
RUNS_OWN_EXPORT = {"ssp_sam/hub/probe.py"}
UNSAFE = {"yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "yaml.unsafe_load_all", "os.system"}
UNSAFE |= {"eval", "exec", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"}


def unsafe_parts(code: str, path: str) -> Iterator[str]:
    """What in a file would trust data, each with its line."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for name in {name.split(".")[0] for name in names} & PICKLES:
                if path not in READERS | WRITERS or isinstance(node, ast.ImportFrom):
                    yield f"line {node.lineno}: imports {name}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            if path not in WRITERS and ast.unparse(node) not in OF_READERS:
                yield f"line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call):
            yield from (f"line {node.lineno}: {fault}" for fault in _unsafe_call(node, path))
        elif isinstance(node, ast.ClassDef) and UNPICKLERS & {*map(ast.unparse, node.bases)}:
            methods = [part.name for part in node.body if isinstance(part, ast.FunctionDef)]
            if "find_class" not in methods:
                yield f"line {node.lineno}: {node.name} finds any class"


def _unsafe_call(node: ast.Call, path: str) -> Iterator[str]:
    name = ast.unparse(node.func)
    options = {keyword.arg: getattr(keyword.value, "value", keyword.value) for keyword in node.keywords}
    if name in UNSAFE:
        yield name
    if name == "torch.load" and options.get("weights_only") is not True:
        yield "torch.load without weights_only=True"
    if options.get("trust_remote_code") is True and path not in RUNS_OWN_EXPORT:
        yield "trust_remote_code=True"
    if options.get("allow_pickle", False) is not False:
        yield "allow_pickle"
    if options.get("shell", False) is not False:
        yield "shell"
    if {"pickle_module"} & options.keys():
        yield "pickle_module"


def test_no_source_trusts_data():
    sources = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in SOURCES}
    faults = {path: list(unsafe_parts(code, path)) for path, code in sources.items()}
    assert {path: found for path, found in faults.items() if found} == {} and len(faults) > 100


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "import pickle",
        "from pickle import loads",
        "yaml.load(file, Loader=yaml.Loader)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(line, shell=True)",
        "eval(text)",
    ],
)
def test_the_check_finds(code):
    assert len(list(unsafe_parts(code, "training/anything.py"))) == 1


@pytest.mark.parametrize("code", ["pickle.load(file)", "class Reader(pickle.Unpickler):\n    pass"])
def test_the_check_finds_in_the_readers(code):
    assert len(list(unsafe_parts(code, min(READERS)))) == 1
