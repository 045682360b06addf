# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Training and evaluation of referring segmentation: generated scenes, data, losses over time, metrics."""
