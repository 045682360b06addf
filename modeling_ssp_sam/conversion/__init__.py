# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints of the original turned into folders for `from_pretrained`."""
