"""The processing layer: images, expressions and clicks in; tensors out; and the way back from logits to masks."""
