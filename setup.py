# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Installs the four layers of the repository under one import name, `ssp_sam`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
LAYERS = ("configuration", "processing", "modeling_ssp_sam", "training")
ROOMS = ("annotation", "cli", "demo", "deployment", "hub")  # sub-packages of ssp_sam/ itself
PACKAGES = ["ssp_sam", *(f"ssp_sam.{room}" for room in ROOMS)]
for layer in LAYERS:  # never find_packages("ssp_sam"): it would follow the links to the layers
    PACKAGES += [f"ssp_sam.{layer}", *(f"ssp_sam.{layer}.{room}" for room in find_packages(str(ROOT / layer)))]

EXTRAS = {
    "completion": ["argcomplete>=3.5"],
    "demo": ["gradio>=6"],
    "docs": ["mkdocs-material>=9.6", "mkdocstrings[python]>=0.29"],
    "heic": ["pillow-heif>=0.20"],
    "lora": ["peft>=0.17"],
    "onnx": ["onnx>=1.18", "onnxscript>=0.5", "onnxruntime>=1.20"],
    "quantization": ["torchao>=0.18"],
    "ray": ["ray[data]>=2.50"],
    "serve": ["fastapi>=0.115", "uvicorn>=0.30"],
    "train": ["tensorboard>=2.17"],
}
# Nothing that the package offers goes untested for want of an extra; Ray, which is large, is installed where it can be.
EXTRAS["test"] = [
    *(requirement for name, requirements in EXTRAS.items() if name != "ray" for requirement in requirements),
    "hypothesis>=6.100",
    "parameterized>=0.9",  # read by transformers' own suites
    "pytest>=8",
    "pytest-randomly>=3.16",
    "pytest-xdist>=3.6",
    "pytest-timeout>=2.3",
    "ruff>=0.12",
    "selenium>=4.20",
    "pandas>=2.2",
    "supervision>=0.26",
    "setuptools>=77",  # builds the wheel that a test looks into
]

setup(
    name="ssp-sam",
    version=re.search(r'^__version__ = "(.+)"$', (ROOT / "ssp_sam/__init__.py").read_text("utf-8"), re.M).group(1),
    description="Referring image segmentation: an image and a sentence in, the mask of what the sentence means out.",
    long_description=(ROOT / "README.md").read_text("utf-8") if (ROOT / "README.md").is_file() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=PACKAGES,
    package_dir={"ssp_sam": "ssp_sam", **{f"ssp_sam.{layer}": layer for layer in LAYERS}},
    package_data={
        package: [
            "*.md",
            "*.yaml",
            "*.txt",
            "*.css",
            "*.js",
            "assets/**/*",
            "checkpoints/**/*",
            "*configs/**/*",
            "referring_segmentation/*.py",
        ]
        for package in PACKAGES
    },
    include_package_data=False,
    install_requires=[
        "torch>=2.10",
        "transformers>=5.23,<6",
        "accelerate>=1.10",
        "filelock>=3.30",
        "huggingface_hub>=1.31",
        "safetensors>=0.8",
        "datasets>=4.0",
        "evaluate>=0.4.5",
        "pillow>=11",
        "numpy>=2.1",
        "psutil>=6",
        "pycocotools>=2.0.8",
        "pyyaml>=6.0.2",
        "tqdm>=4.66.3",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["ssp-sam = ssp_sam.cli.main:main"]},
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)),  # what .ci/versions runs
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
