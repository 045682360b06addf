# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""SSP-SAM: the Segment Anything Model, prompted by a sentence.

Shapes: B images, E expressions, N = g * g patches, L words, C projection channels, D adapter channels, d prompt size.
"""

import torch
from torch import nn
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from ..configuration.configuration_ssp_sam import SspSamConfig
from .attention_adapters import (
    SspSamFusion,
    SspSamLinguisticAdapter,
    SspSamMLP,
    SspSamVerification,
    take_positions,
    words_first_positions,
)
from .losses import ssp_sam_loss
from .mask_decoding import decode_masks
from .model_inputs import (
    SspSamKwargs,
    check_expressions,
    check_full_length,
    check_image_index,
    check_labels,
    check_shape,
)
from .model_outputs import SspSamImageFeatures, SspSamOutput, SspSamTextFeatures
from .pretrained_model import SspSamPreTrainedModel
from .prompt_generator import SspSamPromptGenerator
from .semantic_encoder import (
    SspSamPooledPatches,
    SspSamSentenceProjection,
    encode_image_with_surgery,
    normalise_over_tokens,
    read_clip_sentence,
    similarity_map,
)
from .towers import TowerSource, build_from_towers, build_sam, build_text_tower, build_vision_tower


class SspSamModel(SspSamPreTrainedModel):
    """
    Referring segmentation: an image and expressions in, one mask per expression out.

    The semantic-spatial prompt encoder turns image and expression into prompt embeddings for SAM's mask decoder.

    Source: SSP-SAM (arXiv 2603.18086).
    """

    def __init__(self, config: SspSamConfig):
        super().__init__(config)
        text_size, projection_dim = config.text_config.hidden_size, config.projection_dim
        adapter_dim, prompt_size = config.adapter_dim, config.prompt_hidden_size
        # Prompts. The first child, so that the first layer that can be checkpointed is one that trains.
        self.prompt_generator = SspSamPromptGenerator(
            config,
            hidden_size=prompt_size,
            num_prompt_tokens=config.num_prompt_tokens,
            num_patches=config.grid_size**2,
            num_layers=config.num_fusion_layers,
            num_heads=config.fusion_attention_heads,
            intermediate_size=config.fusion_intermediate_size,
            dropout=config.fusion_dropout,
            layer_type=config.fusion_layer_type,
            prompt_source=config.prompt_source,
        )
        # Towers.
        self.sam = build_sam(config.sam_config)
        self.vision_model = build_vision_tower(config.vision_config)
        if self.vision_model is None:
            channels = config.sam_config.vision_config.output_channels
            self.pooled_patches = SspSamPooledPatches(
                image_channels=channels, projection_dim=projection_dim, grid_size=config.grid_size
            )
        if config.uses_siglip_vision:
            self.patch_projection = nn.Linear(config.vision_config.hidden_size, projection_dim)
        self.text_model = build_text_tower(config.text_config)
        if not config.uses_clip_text:
            sentence_size = config.text_config.projection_size if config.uses_siglip_text else text_size
            self.sentence_projection = SspSamSentenceProjection(text_size=sentence_size, projection_dim=projection_dim)
        # Adapters, verification, fusion.
        if config.linguistic_adapter != "sentence" or config.verification != "none":
            self.word_projection = nn.Linear(text_size, adapter_dim)
        if config.linguistic_adapter == "words":
            self.linguistic_adapter = SspSamLinguisticAdapter(
                adapter_dim=adapter_dim, reads_padding=config.gru_reads_padding
            )
        self.visual_adapter = SspSamMLP(projection_dim, adapter_dim, adapter_dim, adapter_dim)
        if config.verification != "none":
            self.verification = SspSamVerification(
                config,
                adapter_dim=adapter_dim,
                num_heads=config.verification_attention_heads,
                dropout=config.verification_attention_dropout,
                sigma=config.verification_sigma,
                gaussian=config.verification == "gaussian",
            )
        self.fusion = SspSamFusion(
            adapter_dim=adapter_dim, prompt_size=prompt_size, normalise_patches=config.verification != "none"
        )
        # Heads on the reg token.
        if config.use_box_head:
            self.box_head = SspSamMLP(prompt_size, prompt_size, prompt_size, 4)
        if config.use_no_target_head:
            self.no_target_head = SspSamMLP(prompt_size, prompt_size, 1)
        self.post_init()
        self.freeze_towers()

    @classmethod
    def from_towers(
        cls,
        sam: TowerSource,
        vision: TowerSource | None,
        text: TowerSource,
        *,
        output_loading_info: bool = False,
        **config_kwargs,
    ):
        """
        Builds a model from existing checkpoints of its towers; everything between them is new and must be trained.

        Args:
            sam (`str`, `os.PathLike` or `PreTrainedModel`): The segmenter, SAM or SAM-HQ: a hub id, a folder or a
                model.
            vision (`str`, `os.PathLike` or `PreTrainedModel`, *optional*): The semantic image tower: CLIP, SigLIP or
                SigLIP 2 at a fixed resolution, or the vision tower of one of them. `None` makes the single-tower model.
            text (`str`, `os.PathLike` or `PreTrainedModel`): The text tower: BERT, a BERT-like encoder, CLIP, SigLIP,
                or the text tower of one of these.
            output_loading_info (`bool`, defaults to `False`): Also return the names of the new parameters.
            config_kwargs: Fields of [`SspSamConfig`] that the towers do not give, such as `num_prompt_tokens`.

        Returns:
            [`SspSamModel`], in eval mode and float32, with copies of the towers' weights; with `output_loading_info`, a
            `tuple` of it and a `dict` whose `missing_keys` are the names of the parameters that no tower gave. The same
            names are logged. [`~SspSamProcessor.from_model_config`] makes the processor that fits its `config`.

        Raises:
            ValueError: If a tower has another architecture, or two towers do not fit each other.
            TypeError: If a tower is neither a name, nor a folder, nor a model.

        Example:

        ```python
        >>> model = SspSamModel.from_towers(
        ...     sam="facebook/sam-vit-base", vision="openai/clip-vit-base-patch16", text="google-bert/bert-base-uncased"
        ... )
        ```
        """
        model, new = build_from_towers(cls, sam, vision, text, **config_kwargs)
        return (model, {"missing_keys": new}) if output_loading_info else model

    def get_input_embeddings(self) -> nn.Module:
        """The text tower's word embeddings."""
        return self.text_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module):
        self.text_model.set_input_embeddings(value)

    def _from_tower(self, tower: nn.Module, states: torch.Tensor) -> torch.Tensor:
        """Brings what a tower says to the precision of the rest, where the tower is kept in a lower one."""
        return states if tower.dtype == self.dtype else states.to(self.dtype)

    # ---- encoders -------------------------------------------------------------------------------------------------

    @can_return_tuple
    def get_image_features(
        self,
        pixel_values: torch.Tensor | None = None,
        semantic_pixel_values: torch.Tensor | None = None,
        image_embeddings: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SspSamImageFeatures:
        """
        Encodes images once, for any number of expressions.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, 3, S, S)`, *optional*): Images on SAM's canvas.
            semantic_pixel_values (`torch.Tensor` of shape `(B, 3, s, s)`, *optional*): Images on the semantic canvas;
                not used by the single-tower model.
            image_embeddings (`torch.Tensor` of shape `(B, d, height, width)`, *optional*): SAM's image embeddings,
                precomputed, in place of `pixel_values`.
            kwargs: `output_hidden_states` and `output_attentions`.

        Returns:
            [`SspSamImageFeatures`], to be handed to `forward` as `image_features`.

        Raises:
            ValueError: If a needed input is missing or has the wrong size, or both `pixel_values` and
                `image_embeddings` are given.
        """
        # 1. What is there.
        if (pixel_values is None) == (image_embeddings is None):
            given = "neither" if pixel_values is None else "both"
            raise ValueError(f"expected one of pixel_values and image_embeddings, got {given}")
        if self.vision_model is not None and semantic_pixel_values is None:
            raise ValueError("expected semantic_pixel_values beside the image, got None; the processor returns them")
        # 2. SAM's image embeddings.
        vision_config, intermediate_embeddings = self.config.sam_config.vision_config, None
        if image_embeddings is None:
            size = (vision_config.num_channels, vision_config.image_size, vision_config.image_size)
            check_shape("pixel_values", pixel_values, ("images", *size))
            pixels = pixel_values.to(self.sam.vision_encoder.dtype)
            encoded = self.sam.vision_encoder(pixels, return_dict=True, **kwargs)
            image_embeddings = self._from_tower(self.sam.vision_encoder, encoded.last_hidden_state)
            if self.config.uses_sam_hq:
                inner = encoded.intermediate_embeddings[0]
                intermediate_embeddings = self._from_tower(self.sam.vision_encoder, inner)
        elif self.config.uses_sam_hq:
            raise ValueError("expected pixel_values, since SAM-HQ's mask decoder reads more than image_embeddings")
        else:
            side = vision_config.image_size // vision_config.patch_size
            check_shape("image_embeddings", image_embeddings, ("images", vision_config.output_channels, side, side))
            image_embeddings = image_embeddings.to(self.dtype)
            encoded = SspSamImageFeatures()
        # 3. Semantic patches.
        if self.vision_model is None:
            tokens, pooler_output = self.pooled_patches(image_embeddings), None
            patch_features, last_hidden_state = normalise_over_tokens(tokens), image_embeddings
        else:
            num_semantic, num_images = semantic_pixel_values.shape[0], image_embeddings.shape[0]
            if num_semantic != num_images:
                raise ValueError(f"expected one semantic image per image, got {num_semantic} for {num_images}")
            encoded, patch_features, pooler_output = self._encode_patches(semantic_pixel_values, **kwargs)
            last_hidden_state = encoded.last_hidden_state
        return SspSamImageFeatures(
            image_embeddings=image_embeddings,
            patch_features=patch_features,
            last_hidden_state=last_hidden_state,
            pooler_output=pooler_output,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
            intermediate_embeddings=intermediate_embeddings,
        )

    def _encode_patches(self, semantic_pixel_values: torch.Tensor, **kwargs):
        """Returns the semantic tower's output, patches `(B, N, C)`, and the class token `(B, C)` if there is one."""
        vision_config = self.config.vision_config
        size = (vision_config.num_channels, vision_config.image_size, vision_config.image_size)
        check_shape("semantic_pixel_values", semantic_pixel_values, ("images", *size))
        pixels = semantic_pixel_values.to(self.vision_model.dtype)
        if self.config.uses_siglip_vision:
            encoded = self.vision_model(pixels, return_dict=True, **kwargs)
            tokens = self.patch_projection(self._from_tower(self.vision_model, encoded.last_hidden_state))
            return encoded, normalise_over_tokens(tokens), None
        num_layers = self.config.num_surgery_layers
        encoded = encode_image_with_surgery(self.vision_model, pixels, num_layers, return_dict=True, **kwargs)
        tokens = self.vision_model.visual_projection(encoded.last_hidden_state)
        tokens = self._from_tower(self.vision_model, tokens)  # (B, 1 + N, C)
        return encoded, normalise_over_tokens(tokens)[:, 1:], tokens[:, 0]

    @can_return_tuple
    def get_text_features(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SspSamTextFeatures:
        """
        Encodes expressions.

        Args:
            input_ids (`torch.LongTensor` of shape `(E, L)`).
            attention_mask (`torch.Tensor` of shape `(E, L)`, *optional*): 1 for words, 0 for padding on either side.
                CLIP's text tower counts every id but 0 as a word instead, as the original does, and so does SigLIP's
                with its padding id where no mask is given. These two read the padding, too.
            kwargs: `output_hidden_states` and `output_attentions`.

        Returns:
            [`SspSamTextFeatures`]

        Raises:
            ValueError: If ids are missing, too many, or do not fit the mask; or are too few for SigLIP's text tower,
                which reads the sentence at the last of all its positions.
        """
        text_config = self.config.text_config
        check_expressions(input_ids, attention_mask, text_config)
        word_mask = None if attention_mask is None else attention_mask.to(input_ids.dtype)
        if self.config.uses_clip_text:
            word_mask = (input_ids != 0).long()
            encoded = self.text_model.text_model(input_ids=input_ids, return_dict=True, **kwargs)
            word_states = encoded.last_hidden_state
            sentence = read_clip_sentence(self.text_model, word_states, input_ids)
        elif self.config.uses_siglip_text:
            check_full_length(input_ids, text_config.max_position_embeddings)
            word_mask = (input_ids != text_config.pad_token_id).long() if word_mask is None else word_mask
            encoded = self.text_model(input_ids=input_ids, return_dict=True, **kwargs)
            word_states = encoded.last_hidden_state
            sentence = self.sentence_projection(self._from_tower(self.text_model, encoded.pooler_output))
        else:
            word_mask = torch.ones_like(input_ids) if word_mask is None else word_mask
            # The tower counts positions from the first column, so words go there whatever the side of the padding.
            positions = words_first_positions(word_mask)
            words_first = torch.zeros_like(word_mask).scatter(1, positions, word_mask)
            encoded = self.text_model(
                input_ids=torch.zeros_like(input_ids).scatter(1, positions, input_ids),
                attention_mask=None if word_mask.is_meta else words_first,  # the tower looks at its values
                return_dict=True,
                **kwargs,
            )
            sentence = self.sentence_projection(self._from_tower(self.text_model, encoded.last_hidden_state[:, 0]))
            word_states = take_positions(encoded.last_hidden_state, positions)
        word_states = self._from_tower(self.text_model, word_states)
        sentence = nn.functional.normalize(sentence.float(), dim=-1).to(word_states.dtype)
        return SspSamTextFeatures(
            last_hidden_state=word_states,
            pooler_output=sentence,
            word_mask=word_mask,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )

    # ---- forward --------------------------------------------------------------------------------------------------

    @can_return_tuple
    @merge_with_config_defaults
    @capture_outputs(tie_last_hidden_states=False)
    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        semantic_pixel_values: torch.Tensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        image_index: torch.LongTensor | None = None,
        image_embeddings: torch.Tensor | None = None,
        image_features: SspSamImageFeatures | None = None,
        input_points: torch.Tensor | None = None,
        input_boxes: torch.Tensor | None = None,
        input_masks: torch.Tensor | None = None,
        mask_labels: torch.Tensor | None = None,
        box_labels: torch.Tensor | None = None,
        no_target_labels: torch.Tensor | None = None,
        predict_masks: bool = True,
        output_attentions: bool | None = None,
        **kwargs: Unpack[SspSamKwargs],
    ) -> SspSamOutput:
        r"""
        Segments what each expression refers to.

        Args:
            pixel_values (`torch.Tensor` of shape `(B, 3, S, S)`, *optional*): Images on SAM's canvas.
            semantic_pixel_values (`torch.Tensor` of shape `(B, 3, s, s)`, *optional*): Images on the semantic canvas.
            input_ids (`torch.LongTensor` of shape `(E, L)`): Expressions.
            attention_mask (`torch.Tensor` of shape `(E, L)`, *optional*): 1 for words, 0 for padding.
            image_index (`torch.LongTensor` of shape `(E,)`, *optional*): Which image each expression belongs to.
                One expression per image, in order, when not given.
            image_embeddings (`torch.Tensor` of shape `(B, d, height, width)`, *optional*): SAM's image embeddings,
                precomputed, in place of `pixel_values`.
            image_features ([`SspSamImageFeatures`], *optional*): What [`~SspSamModel.get_image_features`] returned, in
                place of all pixels.
            input_points (`torch.Tensor` of shape `(E, 1, points, 2)`, *optional*): x, y in pixels of SAM's canvas.
            input_boxes (`torch.Tensor` of shape `(E, 1, 4)`, *optional*): left, top, right, bottom on SAM's canvas.
            input_masks (`torch.Tensor` of shape `(E, 1, h, w)`, *optional*): Low-resolution mask logits to refine.
            mask_labels (`torch.Tensor` of shape `(E, mask_size, mask_size)`, *optional*): 0 or 1, on SAM's canvas.
            box_labels (`torch.Tensor` of shape `(E, 4)`, *optional*): cxcywh in [0, 1] of the semantic canvas.
            no_target_labels (`torch.Tensor` of shape `(E,)`, *optional*): 1 where nothing in the image is meant.
            predict_masks (`bool`, defaults to `True`): `False` ends after the box head, as box-only training does.
            output_attentions (`bool`, *optional*): Also return the similarity map, the word weights and the
                verification map. Attention weights need the eager attention implementation.
            kwargs ([`SspSamKwargs`], *optional*): `input_labels` of shape `(E, 1, points)`: 1 inside, 0 outside, -10
                padding; and those of every transformers model.

        Returns:
            [`SspSamOutput`]

        Raises:
            ValueError: If inputs are missing, contradict each other, or do not fit in number.
        """
        # 1. Images, once each.
        check_expressions(input_ids, attention_mask, self.config.text_config)
        num_expressions = input_ids.shape[0]
        labels = {"mask_labels": mask_labels, "box_labels": box_labels, "no_target_labels": no_target_labels}
        check_labels(num_expressions, **labels)
        if image_features is None:
            pixels = (pixel_values, semantic_pixel_values, image_embeddings)
            image_features = self.get_image_features(*pixels, return_dict=True)
        elif pixel_values is not None or image_embeddings is not None:
            raise ValueError("expected image_features alone, got pixel_values or image_embeddings beside them")
        image_embeddings = image_features.image_embeddings
        num_images = image_embeddings.shape[0]
        image_index = check_image_index(image_index, num_expressions, num_images, image_embeddings.device)

        # 2. Expressions, and prompts from the patches that each of them is about.
        text = self.get_text_features(input_ids, attention_mask, return_dict=True)
        fused_patches, maps = self.encode_semantic_spatial(
            image_features.patch_features[image_index], text.last_hidden_state, text.pooler_output, text.word_mask
        )
        input_labels = kwargs.pop("input_labels", None)
        reg_token, prompts = self.prompt_generator(fused_patches, **kwargs)

        # 3. Heads on the reg token.
        pred_boxes = self.box_head(reg_token).sigmoid() if self.config.use_box_head else None
        no_target_logits = self.no_target_head(reg_token).squeeze(-1) if self.config.use_no_target_head else None

        # 4. SAM's mask decoder.
        pred_masks = iou_scores = None
        if predict_masks:
            spatial = {"input_points": input_points, "input_labels": input_labels}
            spatial |= {"input_boxes": input_boxes, "input_masks": input_masks}
            # Pipelines hand on what is there, and no more.
            spatial |= {"intermediate_embeddings": image_features.get("intermediate_embeddings")}
            pred_masks, iou_scores = self.decode_masks(image_embeddings, prompts, image_index, **spatial)

        # 5. Losses.
        predicted = {"pred_masks": pred_masks, "pred_boxes": pred_boxes, "no_target_logits": no_target_logits}
        loss, loss_dict = ssp_sam_loss(self.config, **predicted, **labels)
        wants_maps = self.config.output_attentions if output_attentions is None else output_attentions
        maps = maps if wants_maps else {}
        return SspSamOutput(loss=loss, loss_dict=loss_dict or None, iou_scores=iou_scores, **predicted, **maps)

    def encode_semantic_spatial(
        self, patch_features: torch.Tensor, word_states: torch.Tensor, sentence: torch.Tensor, word_mask: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor | None]]:
        """
        Fuses patches and words: similarity, adapters, verification, fusion.

        Args:
            patch_features (`torch.Tensor` of shape `(E, N, C)`).
            word_states (`torch.Tensor` of shape `(E, L, text size)`).
            sentence (`torch.Tensor` of shape `(E, C)`).
            word_mask (`torch.Tensor` of shape `(E, L)`).

        Returns:
            `tuple`: fused patches `(E, N, d)`, and the maps of [`SspSamOutput`] by name.
        """
        similarity = word_attention = verification = None
        # 1. Visual attention adapter.
        if self.config.use_similarity_map:
            similarity = similarity_map(patch_features, sentence)  # (E, N)
            patch_features = patch_features * similarity.unsqueeze(-1)
        patches = self.visual_adapter(patch_features)  # (E, N, D)
        # 2. Linguistic attention adapter.
        word_embeddings = self.word_projection(word_states) if hasattr(self, "word_projection") else None
        if self.config.linguistic_adapter == "words":
            summary, word_attention = self.linguistic_adapter(word_embeddings, word_mask)
        elif self.config.linguistic_adapter == "sentence":
            summary = sentence
        else:
            summary = self.word_projection(sentence)
        # 3. Verification.
        if self.config.verification != "none":
            verification = self.verification(patches, word_embeddings, word_mask)  # (E, N, 1)
        # 4. Fusion.
        fused_patches = self.fusion(patches, verification, summary)
        grid = (patches.shape[0], self.config.grid_size, self.config.grid_size)
        maps = {
            "similarity_map": None if similarity is None else similarity.reshape(grid),
            "word_attention": word_attention,
            "verification_map": None if verification is None else verification.reshape(grid),
        }
        return fused_patches, maps

    def decode_masks(
        self,
        image_embeddings: torch.Tensor,
        prompts: torch.Tensor,
        image_index: torch.Tensor | None = None,
        **options: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Runs SAM's mask decoder on language prompts, as `mask_decoding.decode_masks` describes it."""
        return decode_masks(self.sam, image_embeddings, prompts, image_index, **options)


__all__ = ["SspSamImageFeatures", "SspSamModel", "SspSamOutput", "SspSamPreTrainedModel", "SspSamTextFeatures"]
