# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Labels whole collections of images: any source in shards, predictions out as a prepared dataset."""
