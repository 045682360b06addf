# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Models as repositories of the Hub: export, model card, check, push."""
