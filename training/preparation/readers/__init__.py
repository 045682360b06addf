# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""One file per source of annotations, all yielding the same records."""
