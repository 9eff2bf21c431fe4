"""``labelvocabulary.csv``: one reader for task folders, embeddings folders and the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.tasks.vocabulary import read_vocabulary
from hear_delores.errors import DeloresError


@pytest.mark.parametrize(
    "text",
    ["idx,label\n0,NA\n1, b\n", "\ufeffidx,label\n0,NA\n1, b\n", "label,idx\r\nNA,0\r\n b,1\r\n",
     "IDX,Label,x\n1, b,\n0,NA,\n"],
)  # fmt: skip
def test_labels_by_index_as_they_are_written(tmp_path: Path, text: str) -> None:
    (tmp_path / "v.csv").write_bytes(text.encode())
    assert read_vocabulary(tmp_path / "v.csv") == ["NA", " b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty; expected a header line with the columns idx, label"),
        (b"idx,label\n", "expected the indices 0 .. n-1; got 0"),
        (b"idx,label\n0,a\n2,b\n", "expected the indices 0 .. n-1"),
        (b"idx,label\n0,a\n0,b\n", "line 3: expected a new index and a label, got '0,b'"),
        (b"idx,label\n-1,a\n", "line 2: expected a new index"),
        ("idx,label\n\u0663,a\n".encode(), "line 2: expected a new index"),
        (b"idx,label\n" + b"1" * 5000 + b",a\n", "line 2: expected a new index"),
        (b"idx,label\n0,a\n1,a\n", "duplicate label 'a'"),
        (b"idx,label\n0,a,b\n", "line 2: expected 2 fields as in the header, got 3"),
        (b"idx;label\n0;a\n", "separated by semicolons"),
        ("idx,label\n0,ä\n".encode("latin-1"), "not UTF-8 .* save it as UTF-8"),
        ("idx,label\n0,a\n".encode("utf-16"), "UTF-16"),
    ],
)
def test_faults(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "v.csv").write_bytes(content)
    with pytest.raises(DeloresError, match=f"v.csv: (.*){message}") as error:
        read_vocabulary(tmp_path / "v.csv")
    assert "\n" not in str(error.value)
