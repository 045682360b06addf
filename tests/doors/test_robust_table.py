# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The table of odd inputs refuses what is no good outcome, and is read as it was written."""

import pytest

from tests.helpers.robustness import DOCUMENT, Outcome, Rows, attempt, read_rows


def fail(error: BaseException):
    raise error


@pytest.mark.parametrize(
    "outcome, problem",
    [
        (attempt(lambda: fail(KeyError("x"))), "raised KeyError"),
        (attempt(lambda: ""), "says nothing"),
        (attempt(lambda: fail(ValueError("  "))), "says nothing"),
        (attempt(lambda: fail(ValueError("one\ntwo"))), "says more than one line"),
        (attempt(lambda: fail(ValueError("x" * 500))), "says 500 characters"),
        (attempt(lambda: fail(TypeError("'int' object has no attribute 'size'"))), "speaks of the inside"),
        (Outcome("a mask", seconds=21.0), "took 21 s"),
    ],
)
def test_what_no_user_should_meet_is_refused(tmp_path, outcome, problem):
    rows = Rows(tmp_path, tmp_path / "rows.md", writes=True)
    rows.add("door", "input", outcome)
    with pytest.raises(AssertionError, match=problem):
        rows.finish()
    assert not (tmp_path / "rows.md").exists()


def test_the_document_keeps_other_doors_and_is_compared_by_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(Rows, "begun", set())
    document = tmp_path / "rows.md"
    for door, name, outcome in [
        ("a", "x | `y`\n", Outcome(f"2 masks in {tmp_path}/z")),
        ("b", "\udcff", Outcome("", "expected <words>")),
        ("b", "other", Outcome("", "no")),
    ]:
        rows = Rows(tmp_path, document, writes=True)
        rows.add(door, name, outcome)
        rows.finish()
    assert len(read_rows(document)) == 3 and "2 masks in …/z" in document.read_text("utf-8")

    rows = Rows(tmp_path, document, writes=False)
    rows.add("b", "\udcff", Outcome("", "in other words"))
    rows.finish()
    rows.add("b", "other", Outcome("a mask"))
    with pytest.raises(AssertionError, match="rows that rows.md does not have like this.*\nb | other | a mask"):
        rows.finish()

    monkeypatch.setattr(Rows, "begun", set())
    rows = Rows(tmp_path, document, writes=True)
    rows.add("b", "new", Outcome("a mask"))
    rows.finish()
    assert [name for door, name in read_rows(document) if door == "b"] == ["new"]


def test_a_result_or_a_sentence_may_be_required(tmp_path):
    rows = Rows(tmp_path, tmp_path / "rows.md", writes=True)
    rows.add("a", "x", Outcome("a mask"), expected="sentence")
    with pytest.raises(AssertionError, match="a \\| x: a sentence was expected \\| a mask"):
        rows.finish()


def test_the_document_has_many_rows_of_every_door():
    rows = read_rows(DOCUMENT)
    doors = {door for door, _ in rows}
    assert len(rows) >= 800
    assert doors >= {"processor", "pipeline", "explain", "handler", "demo", "ONNX script", "ssp-sam segment", "overlay"}
    assert all(bool(returned) != bool(said) for returned, said in rows.values())
