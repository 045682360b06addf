# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The model layer: towers, adapters, verification, prompt generator, losses and the pipeline."""
