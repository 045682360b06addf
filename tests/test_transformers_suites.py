# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""transformers' own common suites pass on our classes.

Their files come from the sdist of the installed transformers, which pip fetches; the wheel leaves them out. What the
sdist lacks too stands in `MISSING`: its tests of `generate`, which this model has not, and of export, for which
`tests/modeling_ssp_sam/test_model_deployment.py` has its own. What a suite skips it gives a reason for, which is
printed: no accelerator, no Flash Attention, no language model, no chat template.
"""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import transformers

ROOT = Path(__file__).resolve().parents[1]
SUITES = ROOT / "tests" / "helpers" / "transformers_suites.py"
MISSING = {
    "transformers_tests/exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "transformers_tests/generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "transformers_tests/utils/test_configuration_utils.py": 'config_common_kwargs = {"return_dict": False}\n',
    "fetch_hub_objects_for_ci.py": "def url_to_local_path(url):\n    return url\n",
    "pytest.ini": "[pytest]\n",
}

pytestmark = pytest.mark.long


@pytest.fixture(scope="session")
def suites_folder(tmp_path_factory) -> Path:
    """A folder with the suites of the installed version as the package `transformers_tests`."""
    folder, requirement = tmp_path_factory.mktemp("suites"), f"transformers=={transformers.__version__}"
    words = ["download", "--quiet", "--no-deps", "--no-binary", "transformers", "--dest", str(folder), requirement]
    done = subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, text=True)
    archives = list(folder.glob("transformers-*.tar.gz"))
    if not archives:
        pytest.skip(f"pip cannot fetch the sdist of {requirement}: {done.stderr[-300:]}")
    with tarfile.open(archives[0]) as archive:
        archive.extractall(folder, filter="data")
    (folder / archives[0].name.removesuffix(".tar.gz") / "tests").rename(folder / "transformers_tests")
    (folder / "transformers_tests" / "__init__.py").touch()
    for name, text in MISSING.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize("suite", re.findall(r"^class (\w+Suite)\(.*TestCase", SUITES.read_text("utf-8"), re.M))
def test_the_suite_passes(suite, suites_folder):
    words = ["-c", str(suites_folder / "pytest.ini"), "--rootdir", str(ROOT), "--import-mode=importlib", "-q", "-rs"]
    plugins = ["-p", "no:randomly", "-p", "no:cacheprovider", "-W", "ignore"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SUITES_FOLDER": str(suites_folder)}
    environment.pop("PYTEST_ADDOPTS", None)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *plugins, f"{SUITES}::{suite}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
    )
    print(done.stdout[-4000:])
    assert done.returncode == 0, done.stdout[-4000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) >= 15
