"""SSP-SAM: a picture and a sentence in, the mask of what the sentence means out."""

from transformers import AutoConfig

from .configuration.configuration_ssp_sam import SspSamConfig

__version__ = "0.1.0"

AutoConfig.register(SspSamConfig.model_type, SspSamConfig, exist_ok=True)

__all__ = ["SspSamConfig"]
