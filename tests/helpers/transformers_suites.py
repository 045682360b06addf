# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""transformers' own common suites, as the sdist of the installed version holds them, on tiny models of each kind.

Not collected by itself: `tests/test_transformers_suites.py` fetches the suites and runs one class of this file at a
time, with the folder that holds them in `SUITES_FOLDER`.
"""

import copy
import os
import sys
import unittest

from ssp_sam import SspSamConfig, SspSamImageProcessor, SspSamModel, SspSamProcessor
from tests.helpers.models import make_config, make_tokenizer, tiny_config, tiny_inputs, tiny_labels

sys.path.append(os.environ["SUITES_FOLDER"])

from transformers_tests.test_configuration_common import ConfigTester  # noqa: E402
from transformers_tests.test_image_processing_common import (  # noqa: E402
    ImageProcessingTester,
    ImageProcessingTestMixin,
)
from transformers_tests.test_modeling_common import ModelTesterMixin  # noqa: E402
from transformers_tests.test_processing_common import ProcessorTesterMixin  # noqa: E402


class ModelTester:
    """What the model suite asks of a model: a tiny configuration, inputs for it, and a few of its sizes."""

    batch_size = 3
    num_hidden_layers = 2
    is_training = True

    def __init__(self, kind: str):
        self.kind = kind
        config = self.get_config()
        self.num_attention_heads, self.hidden_size = config.fusion_attention_heads, config.prompt_hidden_size
        self.seq_length = 1 + config.num_prompt_tokens + config.grid_size**2

    def get_config(self) -> SspSamConfig:
        return tiny_config(self.kind)

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), tiny_inputs(self.kind, num_images=self.batch_size)


class ModelSuite(ModelTesterMixin):
    """The suite of models; subclasses say which towers."""

    all_model_classes = (SspSamModel,)
    additional_model_inputs = ["semantic_pixel_values", "input_ids"]  # beside the main input, pixel_values
    _is_composite = True
    kind = "default"

    def setUp(self):
        self.model_tester = ModelTester(self.kind)
        self.config_tester = ConfigTester(self, config_class=SspSamConfig, has_text_modality=False)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = copy.deepcopy(inputs_dict)
        if return_labels:
            inputs |= tiny_labels(len(inputs["input_ids"]))
        return inputs

    def test_config(self):
        self.config_tester.run_common_tests()


class DefaultModelSuite(ModelSuite, unittest.TestCase):
    """CLIP's image tower and BERT."""


class PaperModelSuite(ModelSuite, unittest.TestCase):
    """CLIP's two towers, as in the paper."""

    kind = "paper"


class SingleTowerModelSuite(ModelSuite, unittest.TestCase):
    """SAM's image encoder alone, and BERT."""

    kind = "single tower"
    # The suite looks for the sizes in config.vision_config, which this model does not have.
    skip_test_image_features_output_shape = True


class SiglipModelSuite(ModelSuite, unittest.TestCase):
    """SigLIP's two towers."""

    kind = "siglip"


class ImageProcessorTester(ImageProcessingTester):
    """What the suite of image processors asks of one: its class, small sizes, and the shape it makes."""

    def __init__(self, parent, **kwargs):
        sizes = {"size": {"longest_edge": 32}, "pad_size": {"height": 32, "width": 32}, "semantic_size": 16}
        super().__init__(parent, **{**sizes, "mask_size": 16, **kwargs})

    def _get_image_processing_classes(self):
        return {"pil": SspSamImageProcessor}

    def expected_output_image_shape(self, images):
        return self.num_channels, self.pad_size["height"], self.pad_size["width"]


class ImageProcessorSuite(ImageProcessingTestMixin, unittest.TestCase):
    """The suite of image processors."""

    image_processor_tester_class = ImageProcessorTester

    @unittest.skip("this library reads and resizes images by Pillow alone, wherever torchvision is installed or not")
    def test_new_models_require_torchvision_backend(self):
        pass


class ProcessorSuite(ProcessorTesterMixin, unittest.TestCase):
    """The suite of processors."""

    processor_class = SspSamProcessor

    @unittest.skip("an expression without an image has nothing to be found in; the processor says so")
    def test_processor_text_has_no_visual(self):
        pass

    @classmethod
    def _setup_image_processor(cls):
        return SspSamProcessor.from_model_config(make_config(single_tower=False), make_tokenizer()).image_processor

    @classmethod
    def _setup_tokenizer(cls):
        return make_tokenizer()
