# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Configuration of SSP-SAM: three towers, one semantic-spatial prompt encoder, every variant of the paper a field."""

from dataclasses import field
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from .hub_fields import read_hub_fields, without_hub_fields
from .presets import preset_fields

# The model types that each tower may have; the text tower may be any encoder of words.
SAM_TYPES = ("sam", "sam_hq")
VISION_TYPES = ("clip_vision_model", "siglip_vision_model")
_COUNTS = (
    "projection_dim",
    "grid_size",
    "adapter_dim",
    "verification_attention_heads",
    "num_fusion_layers",
    "fusion_attention_heads",
    "fusion_intermediate_size",
    "mask_size",
)
_WEIGHTS = (
    "dice_loss_weight",
    "focal_loss_weight",
    "l1_loss_weight",
    "giou_loss_weight",
    "no_target_loss_weight",
    "focal_gamma",
    "initializer_range",
)
_FRACTIONS = (
    "verification_attention_dropout",
    "fusion_dropout",
    "focal_alpha",
)


@strict
class SspSamConfig(PreTrainedConfig):
    r"""
    Describes an [`SspSamModel`]. `SspSamConfig()` is BERT + CLIP ViT-B/16 at 224 + SAM ViT-B.

    Args:
        sam_config (`SamConfig`, `SamHQConfig` or `dict`, *optional*):
            The segmenter. `prompt_encoder_config.hidden_size` is the prompt size d of the whole model.
        vision_config (`CLIPVisionConfig`, `SiglipVisionConfig` or `dict`, *optional*):
            The semantic image tower. An explicit `None` selects the single-tower model, which reads SAM's own image
            embeddings, pooled to `grid_size` x `grid_size`.
        text_config (`PreTrainedConfig` or `dict`, *optional*):
            The text tower: `BertConfig`, the config of any BERT-like encoder, `CLIPTextConfig` or `SiglipTextConfig`.
        projection_dim (`int`, *optional*):
            Channels C in which image patches and the sentence are compared. CLIP's image tower gives it; SigLIP's
            width when not given beside that, 512 without an image tower.
        grid_size (`int`, *optional*):
            Side g of the semantic grid. Taken from `vision_config` when that is present; 16 otherwise.
        adapter_dim (`int`, defaults to 512): Channels D of the visual and linguistic attention adapters.
        num_surgery_layers (`int`, *optional*):
            Last CLIP blocks that carry the value-value stream; 6 when not given, and 0 is ordinary CLIP. SigLIP has
            none.
        verification_attention_heads (`int`, defaults to 8): Heads of the words-to-patches attention.
        verification_attention_dropout (`float`, defaults to 0.1): Its dropout in training.
        verification_sigma (`float`, defaults to 0.5): Initial width of the Gaussian of the verification score.
        num_prompt_tokens (`int`, defaults to 128): Learned prompt tokens P.
        num_fusion_layers (`int`, defaults to 6): Transformer layers of the prompt generator.
        fusion_attention_heads (`int`, defaults to 8): Heads of each of them.
        fusion_intermediate_size (`int`, defaults to 2048): Width of their feed-forward part.
        fusion_dropout (`float`, defaults to 0.0): Dropout inside them.
        fusion_layer_type (`"encoder"` or `"decoder"`, defaults to `"encoder"`):
            `"encoder"` runs over [reg; prompts; fused patches], `"decoder"` lets [reg; prompts] attend to the patches.
        prompt_source (`"tokens"` or `"patches"`, defaults to `"tokens"`):
            What SAM's mask decoder receives: the P learned tokens, or the fused patches M themselves.
        linguistic_adapter (`"words"`, `"sentence"` or `"projected_sentence"`, defaults to `"words"`):
            Which vector w multiplies the patches: attention over the words; the sentence vector (needs C = D); the
            projected sentence vector (needs C = text size).
        use_similarity_map (`bool`, defaults to `True`): Whether patches are weighted by their similarity to the text.
        verification (`"gaussian"`, `"cosine"` or `"none"`, defaults to `"gaussian"`):
            How image-text agreement weighs each patch. `"none"` also drops the normalisation of the patches.
        use_box_head (`bool`, defaults to `True`): Whether the reg token predicts a box.
        use_no_target_head (`bool`, defaults to `True`): Whether the reg token predicts that nothing is meant.
        gru_reads_padding (`bool`, defaults to `False`):
            `True` lets the word GRU read padding positions, as the original does over all 77 of CLIP or 64 of SigLIP.
        mask_size (`int`, *optional*):
            Side of the square in which mask losses are computed; half of SAM's canvas when not given.
        frozen_modules (`list[str]`, *optional*):
            Submodules that get no gradient and stay in eval mode. When not given: SAM's image and prompt encoders, its
            IoU head, which no loss reaches, and every tower of CLIP or SigLIP.
        dice_loss_weight, focal_loss_weight, l1_loss_weight, giou_loss_weight, no_target_loss_weight (`float`):
            Weights of the terms of the loss; 4, 4, 5, 2 and 1.
        focal_alpha, focal_gamma (`float`): Parameters of the focal loss; 0.25 and 2.
        initializer_range (`float`, defaults to 0.02): Standard deviation of new weights.

    Raises:
        ValueError: If values make no sense or do not fit each other.

    Source: SSP-SAM (arXiv 2603.18086).

    Example:

    ```python
    >>> from ssp_sam import SspSamConfig, SspSamModel

    >>> config = SspSamConfig.from_preset("single_tower")
    >>> model = SspSamModel(config)
    ```
    """

    model_type = "ssp_sam"
    sub_configs_defaults = {
        "sam_config": SubConfigSpec(AutoConfig, model_type="sam"),
        "vision_config": SubConfigSpec(
            AutoConfig, model_type="clip_vision_model", init_kwargs={"patch_size": 16}, optional=True
        ),
        "text_config": SubConfigSpec(AutoConfig, model_type="bert"),
    }

    sam_config: dict | PreTrainedConfig | None = None
    vision_config: dict | PreTrainedConfig | None = field(default_factory=lambda: {"patch_size": 16})
    text_config: dict | PreTrainedConfig | None = None

    projection_dim: int | None = None
    grid_size: int | None = None
    adapter_dim: int = 512
    num_surgery_layers: int | None = None
    verification_attention_heads: int = 8
    verification_attention_dropout: float | int = 0.1
    verification_sigma: float | int = 0.5
    num_prompt_tokens: int = 128
    num_fusion_layers: int = 6
    fusion_attention_heads: int = 8
    fusion_intermediate_size: int = 2048
    fusion_dropout: float | int = 0.0

    fusion_layer_type: Literal["encoder", "decoder"] = "encoder"
    prompt_source: Literal["tokens", "patches"] = "tokens"
    linguistic_adapter: Literal["words", "sentence", "projected_sentence"] = "words"
    use_similarity_map: bool = True
    verification: Literal["gaussian", "cosine", "none"] = "gaussian"
    use_box_head: bool = True
    use_no_target_head: bool = True
    gru_reads_padding: bool = False

    mask_size: int | None = None
    frozen_modules: list[str] | tuple[str, ...] | None = None
    dice_loss_weight: float | int = 4.0
    focal_loss_weight: float | int = 4.0
    l1_loss_weight: float | int = 5.0
    giou_loss_weight: float | int = 2.0
    no_target_loss_weight: float | int = 1.0
    focal_alpha: float | int = 0.25
    focal_gamma: float | int = 2.0
    initializer_range: float = 0.02
    tie_word_embeddings: bool = True

    def __post_init__(self, **kwargs):
        super().__post_init__(**read_hub_fields(kwargs))
        self._validate_tower_types()
        projection_dim, grid_size = self._semantic_sizes()
        self.projection_dim = projection_dim if self.projection_dim is None else self.projection_dim
        self.grid_size = grid_size if self.grid_size is None else self.grid_size
        if self.num_surgery_layers is None:
            self.num_surgery_layers = 0 if self.uses_siglip_vision else 6
        if self.mask_size is None:
            self.mask_size = self.sam_config.vision_config.image_size // 2
        if self.frozen_modules is None:
            self.frozen_modules = ["sam.vision_encoder", "sam.prompt_encoder", "sam.mask_decoder.iou_prediction_head"]
            self.frozen_modules += ["vision_model"] if self.vision_config is not None else []
            self.frozen_modules += ["text_model"] if self.text_reads_padding else []
        # Also run by the strict dataclass, which would wrap the sentence in two lines of its own.
        self.validate_architecture()

    @classmethod
    def from_preset(cls, name: str, **overrides) -> "SspSamConfig":
        """
        Makes the configuration of a named variant.

        Args:
            name (`str`):
                `"default"`, `"single_tower"`, `"paper_b16"`, `"paper_l14_336"`, or a row of the paper's ablation:
                `"only_LAD"`, `"only_VAD"`, `"only_LAD_VAD"`, `"only_Q_token"`, `"only_LAD_Q_token"`,
                `"only_VAD_Q_token"`, `"wo_gaussian"`, `"single_task"`, `"w_decoder"`, `"layer_ablation"`, `"siglip2"`.
            overrides: Fields that replace those of the preset. A `dict` for a sub-configuration replaces only the
                entries it names.

        Returns:
            [`SspSamConfig`]

        Raises:
            ValueError: If there is no preset of this name.
        """
        return cls(**preset_fields(name, **overrides))

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields as plain values, without those that only hold for the repository they were read from."""
        return without_hub_fields(super().to_dict())

    @property
    def uses_clip_text(self) -> bool:
        """Whether the text tower is CLIP's: causal, read at the end-of-text token, padded with id 0."""
        return self.text_config.model_type == "clip_text_model"

    @property
    def uses_siglip_text(self) -> bool:
        """Whether the text tower is SigLIP's: read at the last of all its positions, padding or not."""
        return self.text_config.model_type == "siglip_text_model"

    @property
    def text_reads_padding(self) -> bool:
        """Whether the text tower was trained on expressions padded to their full length, without a mask."""
        return self.uses_clip_text or self.uses_siglip_text

    @property
    def uses_siglip_vision(self) -> bool:
        """Whether the semantic image tower is SigLIP's: no class token, no projection of its own."""
        return self.vision_config is not None and self.vision_config.model_type == "siglip_vision_model"

    @property
    def uses_sam_hq(self) -> bool:
        """Whether the segmenter is SAM-HQ, whose mask decoder also reads an inner layer of the image encoder."""
        return self.sam_config.model_type == "sam_hq"

    @property
    def prompt_hidden_size(self) -> int:
        """Prompt size d, the channels of SAM's prompt embeddings."""
        return self.sam_config.prompt_encoder_config.hidden_size

    def _semantic_sizes(self) -> tuple[int, int]:
        """Channels C and grid side g that the semantic tower gives; the defaults of the single-tower model."""
        vision: Any = self.vision_config
        if vision is None:
            return 512, 16
        channels = vision.hidden_size if self.uses_siglip_vision else vision.projection_dim
        return channels, vision.image_size // vision.patch_size

    def validate_architecture(self):
        """Raises a `ValueError` for values that make no sense or do not fit each other. Runs at construction."""
        self._validate_ranges()
        self._validate_sam()
        divisions = {
            "verification_attention_heads": ("adapter_dim", self.adapter_dim, self.verification_attention_heads),
            "fusion_attention_heads": ("prompt size", self.prompt_hidden_size, self.fusion_attention_heads),
        }
        for name, (what, size, heads) in divisions.items():
            if size % heads != 0:
                raise ValueError(f"{what} ({size}) must be divisible by {name} ({heads})")
        self._validate_vision()
        # Which sizes the text side must share with the image side.
        if self.uses_clip_text and self.text_config.projection_dim != self.projection_dim:
            raise ValueError(
                f"text_config.projection_dim ({self.text_config.projection_dim}) must equal "
                f"projection_dim ({self.projection_dim})"
            )
        if self.linguistic_adapter == "sentence" and self.projection_dim != self.adapter_dim:
            raise ValueError(
                f"linguistic_adapter='sentence' needs projection_dim ({self.projection_dim}) equal to "
                f"adapter_dim ({self.adapter_dim})"
            )
        if self.linguistic_adapter == "projected_sentence" and self.projection_dim != self.text_config.hidden_size:
            raise ValueError(
                f"linguistic_adapter='projected_sentence' needs projection_dim ({self.projection_dim}) equal to "
                f"text_config.hidden_size ({self.text_config.hidden_size})"
            )

    def _validate_tower_types(self):
        towers = {"sam_config": (SAM_TYPES, self.sam_config), "vision_config": (VISION_TYPES, self.vision_config)}
        for name, (wanted, tower) in towers.items():
            if tower is not None and tower.model_type not in wanted:
                known = " or ".join(map(repr, wanted))
                raise ValueError(f"{name} must have model type {known}, got {tower.model_type!r}")
        if not hasattr(self.text_config, "vocab_size"):
            raise ValueError(f"text_config must be a text encoder's, got model type {self.text_config.model_type!r}")

    def _validate_vision(self):
        if self.vision_config is None:
            return
        channels, grid_size = self._semantic_sizes()
        given = (
            {"grid_size": grid_size}
            if self.uses_siglip_vision
            else {"projection_dim": channels, "grid_size": grid_size}
        )
        for name, size in given.items():
            if getattr(self, name) != size:
                raise ValueError(f"{name} ({getattr(self, name)}) must be {size}, as vision_config gives it")
        if self.uses_siglip_vision and self.num_surgery_layers != 0:
            raise ValueError(f"num_surgery_layers ({self.num_surgery_layers}) must be 0 with SigLIP's image tower")
        if self.num_surgery_layers > self.vision_config.num_hidden_layers:
            raise ValueError(
                f"num_surgery_layers ({self.num_surgery_layers}) must be at most "
                f"vision_config.num_hidden_layers ({self.vision_config.num_hidden_layers})"
            )

    def _validate_ranges(self):
        fewest_prompts = 0 if self.prompt_source == "patches" else 1
        at_least = {**dict.fromkeys(_COUNTS, 1), "num_surgery_layers": 0, "num_prompt_tokens": fewest_prompts}
        for name, least in {**at_least, **dict.fromkeys(_WEIGHTS, 0)}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        for name in _FRACTIONS:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.verification_sigma <= 0:
            raise ValueError(f"verification_sigma must be above 0, got {self.verification_sigma}")

    def _validate_sam(self):
        """SAM's three parts are built apart, and fail deep inside where they disagree."""
        vision, prompts = self.sam_config.vision_config, self.sam_config.prompt_encoder_config
        size = prompts.hidden_size
        pairs = {
            "vision_config.output_channels": (vision.output_channels, size),
            "mask_decoder_config.hidden_size": (self.sam_config.mask_decoder_config.hidden_size, size),
            "vision_config.num_pos_feats": (vision.num_pos_feats, size // 2),
            "vision_config.image_size": (vision.image_size, prompts.image_size),
            "vision_config.patch_size": (vision.patch_size, prompts.patch_size),
        }
        if self.uses_sam_hq:
            vit_dim = self.sam_config.mask_decoder_config.vit_dim
            if vit_dim != vision.hidden_size:
                raise ValueError(
                    f"sam_config.mask_decoder_config.vit_dim ({vit_dim}) must be {vision.hidden_size}, the hidden_size "
                    f"of sam_config.vision_config"
                )
        for name, (value, wanted) in pairs.items():
            if value != wanted:
                raise ValueError(
                    f"sam_config.{name} ({value}) must be {wanted} to fit sam_config.prompt_encoder_config "
                    f"(hidden_size {size}, image_size {prompts.image_size}, patch_size {prompts.patch_size})"
                )


__all__ = ["SspSamConfig"]
