# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The house rules of the source tree: which room may import which, what goes to the Hub, what a wheel must hold."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from sys import stdlib_module_names as STANDARD_LIBRARY

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("configuration", "processing", "modeling_ssp_sam", "training")
EXPORTED_LAYERS = LAYERS[:3]
EXPORTED_LIBRARIES = {"torch", "transformers", "huggingface_hub", "safetensors", "numpy", "PIL"}
# From left to right: a file imports from its own room and from those before it, never from one beside or after it.
LINE = (
    ("training.atomic_files", "training.options"),  # how every room writes, and describes its settings
    ("configuration",),
    ("processing",),
    ("processing.visualization",),
    ("modeling_ssp_sam",),
    ("modeling_ssp_sam.conversion",),
    ("training.scenes", "training.feature_cache"),
    ("training.data",),
    ("training.preparation.readers",),
    ("training.preparation", "training.evaluation"),
    ("training",),
    ("",),  # files of ssp_sam/ itself
    ("annotation",),
    ("deployment",),
    ("hub", "demo"),
    ("cli",),
)
RANKS = {room: rank for rank, rooms in enumerate(LINE) for room in rooms}
# A launched script's folder is first on sys.path, so these names in it would hide a library.
LIBRARY_NAMES = {"accelerate", "datasets", "evaluate", "torch", "transformers", "tokenizers", "numpy", "onnx", "PIL"}


def modules_of(*folders: str) -> dict[str, Path]:
    """The modules of folders by their dotted names below `ssp_sam`; links to the layers are not followed."""
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / "ssp_sam" if folder.startswith("ssp_sam") else ROOT)
            if not (folder == "ssp_sam" and inside.parts[0] in LAYERS):
                found[".".join(inside.with_suffix("").parts).removesuffix("__init__").rstrip(".")] = path
    return found


MODULES = modules_of(*LAYERS, "ssp_sam")
# Loaded by `evaluate` from its file, so it stands alone, and its folder is a package of that name.
MODULES = {name: path for name, path in MODULES.items() if not name.endswith("referring_segmentation")}


def room_of(module: str) -> str:
    """The room with the longest name that a module lies in."""
    return max((room for room in RANKS if f"{module}.".startswith(f"{room}." if room else "")), key=len)


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


@cache
def imports_of(path: Path) -> list[ast.Import | ast.ImportFrom]:
    # What a file does when it is launched is a script's work, and a script may import everything.
    body = [
        node for node in parsed(path).body if not (isinstance(node, ast.If) and "__main__" in ast.unparse(node.test))
    ]
    nodes = (node for statement in body for node in ast.walk(statement))
    return [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]


def named(node: ast.Import | ast.ImportFrom) -> list[str]:
    """The modules that an absolute import names."""
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


def own_modules(path: Path, module: str) -> Iterator[str]:
    """The modules of this project that a file imports, by their dotted names below `ssp_sam`."""
    package = f"ssp_sam.{module}".rstrip(".").split(".")
    package = package if path.name == "__init__.py" else package[:-1]
    for node in imports_of(path):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        else:
            base = package[: len(package) - node.level + 1] if node.level else []
            target = ".".join([*base, *filter(None, [node.module])])
            targets = [f"{target}.{alias.name}" for alias in node.names]
        for target in targets:
            below = target.removeprefix("ssp_sam").lstrip(".")
            if target.split(".")[0] == "ssp_sam":
                yield below if below in MODULES else below.rpartition(".")[0]


EXPORTED = {
    name: path
    for name, path in MODULES.items()
    if name.count(".") == 1 and name.split(".")[0] in EXPORTED_LAYERS and path.name != "__init__.py"
}


def test_imports_run_down_the_line():
    imports = [(module, target) for module, path in MODULES.items() for target in own_modules(path, module)]
    rooms = {module: room_of(module) for pair in imports for module in pair}
    up = [(one, other) for one, other in imports if RANKS[rooms[other]] >= RANKS[rooms[one]]]
    assert [f"{one} imports {other}" for one, other in up if rooms[one] != rooms[other]] == []


def test_the_package_imports_no_script_and_no_test():
    for module, path in MODULES.items():
        assert not {"scripts", "tests"} & {name.split(".")[0] for node in imports_of(path) for name in named(node)}, (
            module
        )


def test_the_public_face_imports_configuration_processing_and_modeling_alone():
    assert set(own_modules(MODULES[""], "")) == {"registration"}
    rooms = {room_of(target) for target in own_modules(MODULES["registration"], "registration")} - {""}
    assert rooms <= {"configuration", "processing", "modeling_ssp_sam", "modeling_ssp_sam.conversion"}


def test_in_the_model_only_the_pipeline_reads_the_processing():
    for module, path in EXPORTED.items():
        if module.startswith("modeling_ssp_sam") and "pipeline" not in module:
            assert "processing" not in {room_of(target) for target in own_modules(path, module)}, module


def test_no_files_import_each_other_in_a_circle():
    graph = {name: set(own_modules(path, name)) - {name, ""} for name, path in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_files_that_a_user_names_are_opened_as_images_in_one_file():
    own_assets = ("training.scenes.", "training.run_report")  # which read what the project wrote
    opening = {module for module, path in MODULES.items() if "Image.open(" in path.read_text("utf-8")}
    others = {module for module in opening if not module.startswith(own_assets)} - {"processing.image_files"}
    assert others == set(), "processing/image_files.py knows formats and limits"


def test_exported_files_import_modules_and_few_libraries():
    for module, path in EXPORTED.items():
        for node in imports_of(path):
            where = f"{module}, line {node.lineno}"
            if isinstance(node, ast.ImportFrom) and node.level:
                parts = (node.module or "").split(".")
                assert parts != [""] and len(parts) == node.level, (
                    f"{where}: import a module, as in `from ..layer.module import name`"
                )
            else:
                outside = {name.split(".")[0] for name in named(node)} - EXPORTED_LIBRARIES - set(STANDARD_LIBRARY)
                assert not outside, f"{where}: {outside} would have to be installed beside a model of the Hub"


def test_no_docstring_line_of_exported_files_looks_like_a_relative_import():
    for module, path in EXPORTED.items():
        lines = path.read_text("utf-8").splitlines()
        statements = {line for node in imports_of(path) for line in range(node.lineno, (node.end_lineno or 0) + 1)}
        for number, line in enumerate(lines, start=1):
            like = line.lstrip().startswith(("from .", "import ."))
            assert number in statements or not like, f"{module}, line {number}"


def test_names_of_exported_files_are_unique_since_the_hub_has_one_folder():
    names = Counter(path.name for path in EXPORTED.values())
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("folder", ["training", "scripts"])
def test_no_launched_folder_hides_a_library(folder):
    assert not {path.stem for path in (ROOT / folder).iterdir()} & LIBRARY_NAMES


@pytest.mark.parametrize("layer", LAYERS)
def test_a_checkout_imports_without_being_installed(layer):
    link = ROOT / "ssp_sam" / layer
    assert link.resolve() == ROOT / layer


def test_the_licence_stands_first_and_then_what_the_file_is_for():
    licence = "# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.\n"
    for module, path in MODULES.items():
        assert path.read_text("utf-8").startswith(licence), module
        assert ast.get_docstring(parsed(path)), f"{module}: a file says in its first sentence what it is for"


def test_files_and_functions_stay_short():
    for module, path in MODULES.items():
        limit = 480 if module == "modeling_ssp_sam.modeling_ssp_sam" else 350
        assert len(path.read_text("utf-8").splitlines()) <= limit, f"{module}: one file, one idea"
        for node in ast.walk(parsed(path)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                documented = ast.get_docstring(node, clean=False)
                lines = node.end_lineno - node.lineno + 1 - len((documented or "").splitlines())
                assert lines <= 60, f"{module}: {node.name} has {lines} lines without its docstring"


def test_every_folder_of_code_is_a_package_that_setup_names():
    folders = {path.parent for path in MODULES.values()}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
    rooms = {path.name for path in (ROOT / "ssp_sam").iterdir() if path.is_dir() and (path / "__init__.py").is_file()}
    named = re.search(r"^ROOMS = \((.+)\)", (ROOT / "setup.py").read_text("utf-8"), re.M)[1]
    assert rooms - set(LAYERS) == set(re.findall(r"\w+", named))
