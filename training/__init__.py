"""Training and evaluation of referring segmentation: generated scenes, data, losses over time, metrics."""
