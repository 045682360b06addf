# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Large JSON files are read element by element."""

import json

import pytest

from ssp_sam.training.preparation.readers import json_files
from ssp_sam.training.preparation.readers.json_files import stream_items

VALUES = [
    1,
    -2.5e3,
    'ü\\"[]{},: \u5973',
    None,
    True,
    [],
    {},
    [[1, 2], {"a": [3]}],
    {"k": "v", "n": {"m": [1]}},
    1234567890,
]


@pytest.fixture(params=[1, 2, 7, 1 << 20])
def chunk(request, monkeypatch):
    """Parts of the file of any size: elements are cut anywhere."""
    monkeypatch.setattr(json_files, "_CHUNK", request.param)


@pytest.mark.parametrize("indent", [None, 1])
def test_a_list_gives_its_elements(tmp_path, chunk, indent):
    (tmp_path / "list.json").write_text(json.dumps(VALUES, indent=indent), encoding="utf-8")
    assert list(stream_items(tmp_path / "list.json")) == [(None, value) for value in VALUES]


@pytest.mark.parametrize("indent", [None, 1])
def test_an_object_gives_the_elements_of_its_lists(tmp_path, chunk, indent):
    content = {"info": {"year": 2014}, "images": VALUES, "none": [], "annotations": [{"id": 1}], "last": 12}
    (tmp_path / "object.json").write_text(json.dumps(content, indent=indent, ensure_ascii=False), encoding="utf-8")
    expected = [
        ("info", {"year": 2014}),
        *(("images", value) for value in VALUES),
        ("annotations", {"id": 1}),
        ("last", 12),
    ]
    assert list(stream_items(tmp_path / "object.json")) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ('[1, {"a": ', "damaged at character"),
        ("[1, 2", "expected ',', got ''"),
        ("[1 2]", "expected ',', got '2'"),
        ('{"a" 1}', "expected ':', got '1'"),
        ("[1] x", "expected the end of the file, got 'x'"),
        ("<html>", "expected a list or an object, got '<'"),
        ("", "expected a list or an object, got ''"),
        ("12", "expected a list or an object, got '1'"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path, chunk, text, message):
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(ValueError, match=f"bad.json.*{message}"):
        list(stream_items(tmp_path / "bad.json"))


def test_elements_come_before_the_file_is_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "_CHUNK", 16)
    (tmp_path / "long.json").write_text("[1, 2, 3, " + "4, " * 100 + "oops")
    items = stream_items(tmp_path / "long.json")
    assert [next(items)[1] for _ in range(3)] == [1, 2, 3]


def test_other_encodings_and_missing_files_are_named(tmp_path):
    (tmp_path / "latin.json").write_bytes('["é"]'.encode("latin1"))
    with pytest.raises(ValueError, match="latin.json.*is no text in UTF-8"):
        list(stream_items(tmp_path / "latin.json"))
    with pytest.raises(ValueError, match="cannot read .*missing.json"):
        list(stream_items(tmp_path / "missing.json"))
