# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What every model of this package shares: loading, saving, initialisation, and towers that stay frozen."""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.hub import cached_file, resolve_revision
from transformers.utils.output_capturing import OutputRecorder

from ..configuration.configuration_ssp_sam import SspSamConfig
from .attention_adapters import SspSamAttention, SspSamVerification
from .prompt_generator import SspSamFusionLayer
from .recurrence import SspSamGRU
from .weight_checksums import check_weights


class SspSamPreTrainedModel(PreTrainedModel):
    """Loading, saving, initialisation and freezing shared by SSP-SAM's models."""

    config: SspSamConfig
    config_class = SspSamConfig
    base_model_prefix = "ssp_sam"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ["SspSamFusionLayer", "SspSamLinguisticAdapter"]
    _can_record_outputs = {
        "hidden_states": SspSamFusionLayer,
        "attentions": OutputRecorder(SspSamAttention, index=1, layer_name="self_attn"),
    }

    @classmethod
    def is_custom_code(cls) -> bool:
        """Always `False`: every module here initialises itself the way transformers' own models do."""
        return False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, SspSamGRU):
            for name, parameter in module.named_parameters():
                if name.startswith("weight"):
                    init.normal_(parameter, mean=0.0, std=self.config.initializer_range)
                else:
                    init.zeros_(parameter)
        elif isinstance(module, SspSamVerification) and module.gaussian:
            init.ones_(module.scale)
            init.constant_(module.sigma, module.initial_sigma)

    # ---- what is frozen -------------------------------------------------------------------------------------------

    def freeze_towers(self):
        """
        Takes the modules of `config.frozen_modules` out of training: no gradient, and eval mode for good.

        Raises:
            ValueError: If a name is no submodule of this model.
        """
        for module in self._frozen_modules():
            module.requires_grad_(False)
        self.train(self.training)

    def _frozen_modules(self) -> list[nn.Module]:
        children = dict(self.named_modules())
        for name in self.config.frozen_modules:
            if children.get(name) is None:
                raise ValueError(
                    f"frozen_modules names {name!r}, which this model does not have; "
                    f"its top modules are {[child for child, _ in self.named_children()]}"
                )
        return [children[name] for name in self.config.frozen_modules]

    def train(self, mode: bool = True):
        """Sets training mode; frozen towers stay in eval mode, so that their dropout stays off, adapters' excepted."""
        super().train(mode)
        for frozen in self._frozen_modules():
            frozen.eval()
            for module in frozen.modules():
                if hasattr(module, "base_layer"):  # what peft has put around a layer
                    module.train(mode)
                    module.base_layer.eval()
        return self

    def set_attn_implementation(self, attn_implementation: str | dict, **options):
        """Sets the attention like every transformers model, and of SAM's image encoder, whose layers choose a class."""
        super().set_attn_implementation(attn_implementation, **options)
        encoder = self.sam.vision_encoder
        if encoder.config._attn_implementation in ("eager", "sdpa"):
            with torch.device("meta"):
                chosen = type(type(encoder.layers[0])(encoder.config, encoder.layers[0].window_size).attn)
            for layer in encoder.layers:
                layer.attn.__class__ = chosen  # eager or sdpa, of the same parameters

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        """
        Loads weights like every transformers model, and freezes `config.frozen_modules` again.

        Raises:
            OSError: If there is no model, or it comes from the exporter, and its weight files are not those that were
                exported.
        """
        source = pretrained_model_name_or_path
        options = {}
        if source is not None:
            # One commit for the weights and their checksums, whatever is pushed meanwhile.
            names = ("revision", "token", "local_files_only", "cache_dir")
            options = {name: kwargs[name] for name in names if kwargs.get(name) is not None}
            kwargs["revision"] = resolve_revision(source, **options)
        try:
            loaded = super().from_pretrained(source, *model_args, **kwargs)
        except SafetensorError as error:
            check_weights(source, **kwargs)  # which names the file, where the exporter has written checksums
            raise OSError(
                f"the weights of {os.fspath(source)!r} are damaged or cut off ({error}); copy or fetch them again"
            ) from error
        except OSError as error:
            options["_raise_exceptions_for_missing_entries"] = False
            if source is None or cached_file(source, "config.json", **options) is not None:
                raise
            raise OSError(
                f"{source} has no config.json; if it holds checkpoints of the original, run: ssp-sam pull {source}"
            ) from error
        if source is not None and kwargs.get("variant") is None:
            check_weights(source, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.asked_dtype = kwargs.get("dtype")  # which the pipeline leaves as it is
        model.freeze_towers()
        return loaded

    def save_pretrained(self, save_directory, *args, **kwargs):
        """Saves like every transformers model, and deletes weights in one file that are older than those in several."""
        super().save_pretrained(save_directory, *args, **kwargs)
        whole, index = (Path(save_directory, name) for name in (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME))
        # transformers leaves them, and loads them in place of what was saved.
        if whole.is_file() and index.is_file() and whole.stat().st_mtime_ns < index.stat().st_mtime_ns:
            whole.unlink()
