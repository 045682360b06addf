# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Results drawn for people, with Pillow and numpy alone."""
