# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What runs where this package is absent, and what makes it."""
