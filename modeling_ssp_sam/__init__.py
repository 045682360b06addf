"""The model layer: towers, adapters, verification, prompt generator, losses and the pipeline."""
