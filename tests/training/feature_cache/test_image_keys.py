# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Names of images by their pixels."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ssp_sam.training.feature_cache.image_keys import image_key
from tests.helpers.feature_caches import encoded


def test_an_image_has_one_key_in_whatever_form_it_comes(tmp_path, image):
    path = tmp_path / "image.png"
    image.save(path)
    content = path.read_bytes()
    forms = [
        image,
        np.asarray(image),
        path,
        content,
        {"bytes": content, "path": None},
        {"bytes": None, "path": str(path)},
    ]
    assert {image_key(form) for form in forms} == {image_key(encoded(image, "BMP"))}


def test_two_images_of_one_file_name_have_two_keys(tmp_path, image):
    paths = [tmp_path / folder / "rgb.png" for folder in ("first", "second")]
    for path, pixels in zip(paths, (image, image.rotate(180))):
        path.parent.mkdir()
        pixels.save(path)
    assert image_key(paths[0]) != image_key(paths[1])


def test_an_image_stored_on_its_side_has_the_key_of_the_upright_one(image):
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = BytesIO()
    image.transpose(Image.Transpose.ROTATE_90).save(stream, format="PNG", exif=exif)
    assert image_key(stream.getvalue()) == image_key(image)


def test_one_pixel_and_the_shape_change_the_key(image):
    pixels = np.array(image)
    pixels[3, 4, 1] ^= 1
    assert len({image_key(image), image_key(pixels), image_key(np.asarray(image).reshape(40, 30, 3))}) == 3


def test_bytes_that_are_no_image_are_refused():
    with pytest.raises(ValueError, match="could not read an image from 5 bytes"):
        image_key(b"hello")
