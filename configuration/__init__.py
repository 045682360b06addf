# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The configuration layer: every size, variant and loss weight of the model, and nothing else."""
