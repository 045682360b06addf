# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The processing layer: images, expressions and clicks in; tensors out; and the way back from logits to masks."""
