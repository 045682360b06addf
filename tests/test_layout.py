"""The house rules of the source tree: which layer may import which, and what makes files fit for the Hub."""

import ast
from collections import Counter
from pathlib import Path
from sys import stdlib_module_names as STANDARD_LIBRARY

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("configuration", "processing", "modeling_ssp_sam", "training")
EXPORTED_LAYERS = ("configuration", "processing", "modeling_ssp_sam")
EXPORTED_LIBRARIES = {"torch", "transformers", "huggingface_hub", "numpy", "PIL"}
MAY_IMPORT = {
    "configuration": {"configuration"},
    "processing": {"configuration", "processing"},
    "modeling_ssp_sam": {"configuration", "modeling_ssp_sam"},
    "pipeline": {"configuration", "processing", "modeling_ssp_sam"},
    "training": set(LAYERS),
}
# A launched script's folder is first on sys.path, so these file names would hide a library.
LIBRARY_NAMES = {"accelerate", "datasets", "evaluate", "torch", "transformers", "tokenizers", "numpy", "PIL"}


def files_of(layer: str) -> list[Path]:
    return sorted(path for path in (ROOT / layer).rglob("*.py") if "__pycache__" not in path.parts)


def imports_of(path: Path) -> list[ast.Import | ast.ImportFrom]:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]


def layers_imported_by(path: Path, layer: str) -> set[str]:
    """The layers a file imports from, by relative imports or through `ssp_sam`; "face" is the package itself."""
    found = set()
    for node in imports_of(path):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found.add(layer)
        elif isinstance(node, ast.ImportFrom) and node.level == 2:
            found.add((node.module or "face").split(".")[0])
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for name in names:
                if name.split(".")[0] == "ssp_sam":
                    found.add(name.split(".")[1] if "." in name else "face")
    return found


SOURCES = [pytest.param(path, layer, id=f"{layer}/{path.name}") for layer in LAYERS for path in files_of(layer)]
EXPORTED = [
    pytest.param(path, id=f"{layer}/{path.name}")
    for layer in EXPORTED_LAYERS
    for path in files_of(layer)
    if path.name != "__init__.py"
]


@pytest.mark.parametrize("path, layer", SOURCES)
def test_dependencies_point_one_way(path, layer):
    allowed = MAY_IMPORT["pipeline" if path.name.startswith("pipeline") else layer]
    assert layers_imported_by(path, layer) <= allowed


@pytest.mark.parametrize("path, layer", SOURCES)
def test_no_layer_imports_the_public_face_or_a_script(path, layer):
    for node in imports_of(path):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        assert not any(name.split(".")[0] in ("scripts", "tests") for name in names)
    assert "face" not in layers_imported_by(path, layer)


@pytest.mark.parametrize("path", EXPORTED)
def test_exported_files_import_modules_and_few_libraries(path):
    for node in imports_of(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = (node.module or "").split(".")
            assert parts != [""] and len(parts) == node.level, (
                f"line {node.lineno}: import a module, as in `from ..layer.module import name`"
            )
        else:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            outside = {name.split(".")[0] for name in names} - EXPORTED_LIBRARIES - set(STANDARD_LIBRARY)
            assert not outside, f"line {node.lineno}: {outside} would have to be installed beside a model of the Hub"


@pytest.mark.parametrize("path", EXPORTED)
def test_no_docstring_line_of_exported_files_looks_like_a_relative_import(path):
    lines = path.read_text("utf-8").splitlines()
    statements = {line for node in imports_of(path) for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    for number, line in enumerate(lines, start=1):
        assert number in statements or not line.lstrip().startswith(("from .", "import .")), f"line {number}"


def test_names_of_exported_files_are_unique_since_the_hub_has_one_folder():
    names = Counter(path.name for layer in EXPORTED_LAYERS for path in files_of(layer) if path.name != "__init__.py")
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("folder", ["training", "scripts"])
def test_no_launched_folder_hides_a_library(folder):
    assert not {path.stem for path in files_of(folder)} & LIBRARY_NAMES


@pytest.mark.parametrize("layer", LAYERS)
def test_a_checkout_imports_without_being_installed(layer):
    link = ROOT / "ssp_sam" / layer
    assert link.resolve() == ROOT / layer
