"""The configuration layer: every size, variant and loss weight of the model, and nothing else."""
