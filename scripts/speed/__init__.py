# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What `scripts/benchmark.py` measures: one function for each group of works."""
