# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Pickled annotations give data and run nothing."""

import collections
import os
import pickle
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from ssp_sam.training.preparation.readers.plain_pickle import load_plain_pickle
from ssp_sam.training.preparation.readers.records import PreparationError, shortened


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


def test_a_list_that_holds_itself_is_told_shortly(tmp_path):
    loop: list = []
    loop.append(loop)
    loaded = load_plain_pickle(write(tmp_path / "loop.p", loop))
    assert loaded[0] is loaded and len(shortened(loaded)) <= 80


def long(value: int) -> bytes:
    data = pickle.encode_long(value)
    return b"\x8a" + bytes([len(data)]) + data


COLLIDING = [long(number * (2**61 - 1)) for number in range(1, 20_000)]
HOSTILE = {
    "an index of the memo": (b"]r\xff\xff\xff\x7f.", None),
    "an index of the memo in digits": (b"]p" + b"9" * 4000 + b"\n.", None),
    "an index of the memo that was not set": (b"h\x05.", "Memo value not found"),
    "a text longer than the file": (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fab.", "fetch the file again"),
    "a frame longer than the file": (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f].", None),
    "an array longer than the file": (b"\x96\xff\xff\xff\x7f\0\0\0\0.", "the instruction BYTEARRAY8"),
    "keys of one hash": (b"}(" + b"".join(key + b"N" for key in COLLIDING) + b"u.", "at most 64 bits"),
    "members of one hash": (b"\x8f(" + b"".join(COLLIDING) + b"\x90.", "at most 64 bits"),
    "a call with members of one hash": (b"c__builtin__\nset\n](" + b"".join(COLLIDING) + b"e\x85R.", "at most 64 bits"),
    "a key that is slow to hash": (b"}K\x01q\x01" + b"h\x01\x86q\x01" * 60 + b"K\x01s.", "got a tuple"),
    "a changed object": (b"c_codecs\nencode\nN}X\x01\0\0\0aK\x01s\x86b.", "the instruction BUILD"),
    "a new object": (b"c__builtin__\nset\n)\x81.", "the instruction NEWOBJ"),
    "an object of old": (b"(i__main__\nRuns\n.", "the instruction INST"),
    "a registered object": (b"\x82\x01.", "the instruction EXT1"),
    "a slow codec": (b"c_codecs\nencode\n(V" + b"a" * 10**5 + b"\nVpunycode\ntR.", "the encoding 'punycode'"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_takes_no_memory_and_no_time(tmp_path, name):
    content, reason = HOSTILE[name]
    (tmp_path / "evil.p").write_bytes(content)
    tracemalloc.start()
    try:
        if reason is None:
            assert load_plain_pickle(tmp_path / "evil.p") == []
        else:
            with pytest.raises(PreparationError, match=rf"evil\.p.*{reason}"):
                load_plain_pickle(tmp_path / "evil.p")
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


@pytest.mark.long  # starts a process with the whole library
def test_hostile_pickles_are_read_within_a_limit_of_memory(tmp_path):
    for number, (content, _) in enumerate(HOSTILE.values()):
        (tmp_path / f"{number}.p").write_bytes(content)
    script = f"""
import pathlib, resource
from ssp_sam.training.preparation.readers.plain_pickle import load_plain_pickle
pages = int(pathlib.Path("/proc/self/statm").read_text().split()[5])
limit = pages * resource.getpagesize() + 2**28
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
for path in pathlib.Path({str(tmp_path)!r}).glob("*.p"):
    try:
        load_plain_pickle(path)
    except ValueError as error:
        assert "MemoryError" not in str(error), error
print("read")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.stdout == "read\n", done.stderr


def test_no_function_comes_out_of_a_pickle(tmp_path):
    (tmp_path / "named.p").write_bytes(b"c_codecs\nencode\n.")
    assert not callable(load_plain_pickle(tmp_path / "named.p"))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*missing\.p"):
        load_plain_pickle(tmp_path / "missing.p")
