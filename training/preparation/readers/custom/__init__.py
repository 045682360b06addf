# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Readers of custom datasets: one file per format, `formats.py` finds which one a folder has."""
