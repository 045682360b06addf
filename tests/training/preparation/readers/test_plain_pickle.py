# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Pickled annotations give data and run nothing."""

import collections
import os
import pickle
import subprocess

import numpy as np
import pytest

from ssp_sam.training.preparation.readers.plain_pickle import load_plain_pickle


class Runs:
    """Unpickling it would call `function` with `arguments`."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def write(path, content, protocol=2):
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_back_as_it_was(tmp_path, protocol):
    content = [{"a": 1, "b": [1.5, None, True, -(2**70)], "c": ("ü – 女士", {1, 2}, frozenset({3}))}, []]
    assert load_plain_pickle(write(tmp_path / "plain.p", content, protocol)) == content
    ordered = collections.OrderedDict(z=1, a=2)
    assert list(load_plain_pickle(write(tmp_path / "ordered.p", ordered, protocol)).items()) == [("z", 1), ("a", 2)]


def test_byte_strings_of_python_2_become_text(tmp_path):
    # What Python 2 writes for [{'sent': 'caf\xc3\xa9', 'raw': 'caf\xe9', u'name': u'caf\xe9', 'id': 7L}].
    pickled = (
        b"(lp0\n(dp1\nS'sent'\np2\nS'caf\\xc3\\xa9'\np3\nsS'raw'\np4\nS'caf\\xe9'\np5\n"
        b"sVname\np6\nVcaf\\u00e9\np7\nsS'id'\np8\nL7L\nsa."
    )
    (tmp_path / "old.p").write_bytes(pickled)
    assert load_plain_pickle(tmp_path / "old.p") == [{"sent": "café", "raw": "café", "name": "café", "id": 7}]


@pytest.mark.parametrize(
    "content, named",
    [
        (Runs(os.system, "touch ran"), "posix.system|nt.system"),
        (Runs(eval, "1"), r"\w+\.eval"),
        (Runs(subprocess.check_output, "id"), r"\w+\.check_output"),
        (Runs(getattr, "", "join"), r"\w+\.getattr"),
        ([{"deep": [np.zeros(2)]}], "numpy"),
        (collections.Counter("ab"), "collections.Counter"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_anything_else_is_refused_by_name_and_not_run(tmp_path, monkeypatch, content, named, protocol):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"bad\.p.*asks for the Python object ({named})"):
        load_plain_pickle(write(tmp_path / "bad.p", content, protocol))
    assert not (tmp_path / "ran").exists()


def test_outside_objects_and_other_encodings_of_bytes_are_refused(tmp_path):
    (tmp_path / "persistent.p").write_bytes(b"Pdatabase\n.")
    with pytest.raises(ValueError, match="outside object"):
        load_plain_pickle(tmp_path / "persistent.p")
    (tmp_path / "codec.p").write_bytes(b"c_codecs\nencode\n(Vabc\nVrot13\ntR.")
    with pytest.raises(ValueError, match="codec.p"):
        load_plain_pickle(tmp_path / "codec.p")


@pytest.mark.parametrize("damage", [lambda raw: raw[:-5], lambda raw: raw[3:], lambda raw: b"", lambda raw: b"<html>"])
def test_damaged_files_are_named(tmp_path, damage):
    path = write(tmp_path / "refs(unc).p", [{"ref_id": number} for number in range(50)])
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"refs\(unc\)\.p.*fetch the file again"):
        load_plain_pickle(path)


def test_what_is_shared_many_times_over_does_not_take_forever(tmp_path):
    content = ["x"]
    for _ in range(60):
        content = [content, content]
    loaded = load_plain_pickle(write(tmp_path / "shared.p", content))
    assert loaded[0] is loaded[1]


def test_endless_nesting_is_refused(tmp_path):
    loop: list = []
    loop.append(loop)
    with pytest.raises(ValueError, match="nested without end"):
        load_plain_pickle(write(tmp_path / "loop.p", loop))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*missing\.p"):
        load_plain_pickle(tmp_path / "missing.p")
