# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The GRU of the linguistic adapter beside torch's own."""

import torch

from ssp_sam.modeling_ssp_sam.recurrence import SspSamGRU, _compiled_gru


def test_it_is_torchs_gru_with_the_same_names_of_weights():
    gru, expected = SspSamGRU(5, 7), torch.nn.GRU(5, 7, batch_first=True)
    expected.load_state_dict(gru.state_dict())
    words = torch.randn(3, 4, 5)
    torch.testing.assert_close(gru(words), expected(words)[0])


def test_the_operator_of_compiled_models_has_its_derivatives():
    gru = SspSamGRU(3, 2).double()
    words = torch.randn(2, 4, 3, dtype=torch.double, requires_grad=True)
    torch.testing.assert_close(_compiled_gru(words, *gru.parameters()), gru(words))
    torch.library.opcheck(_compiled_gru, (words, *gru.parameters()))
    assert torch.autograd.gradcheck(_compiled_gru, (words, *gru.parameters()))
