"""The one reader of CSV tables: the right cells or one line that names the line of the file."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from hear_delores.errors import DeloresError
from pretrain.inputs.csv_table import LOOKALIKES, parse_table, read_number, read_table

REQUIRED, OPTIONAL = ("file", "label"), ("group", "split", "start", "duration")


def cells(text: str) -> list[dict[str, str]]:
    return [row.cells for row in parse_table(text, "it", REQUIRED, OPTIONAL).rows]


@pytest.mark.parametrize(
    "text",
    [
        "file,label\na.wav,Bark\n",
        "\ufefffile,label\na.wav,Bark\n",
        "file, label\na.wav, Bark\n",
        " File ,LABEL\r\n a.wav , Bark \r\n",
        "file,label\ra.wav,Bark\r",
        '"file","label"\n"a.wav","Bark"',
        "\n\nfile,label\n\na.wav,Bark\n\n",
    ],
)
def test_headers_in_any_case_with_blanks_and_byte_order_marks(text: str) -> None:
    assert cells(text) == [{"file": "a.wav", "label": "Bark"}]


def test_quoted_commas_quotes_and_line_breaks() -> None:
    text = 'file,label,remark\na.wav,"Bark, ""loud""","two\nlines"\nb.wav,Purr,\n'
    table = parse_table(text, "it", REQUIRED, OPTIONAL)
    assert table.rows[0].cells == {"file": "a.wav", "label": 'Bark, "loud"', "remark": "two\nlines"}
    assert [row.line for row in table.rows] == [2, 4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected a header line with the columns file, label"),
        ("\n \n", "no header|empty"),
        (
            "file,label\nx.wav,Bark, dog\n",
            "line 2: expected 2 fields .* got 3; quote a field with a comma",
        ),
        ("file,label\nx.wav,Bark\n\ny.wav\n", "line 4: expected 2 fields as in the header, got 1"),
        ("file,label\nx.wav,Bark,\n", "line 2: expected 2 fields as in the header, got 3"),
        ("file,label,file\n", "two columns are called 'file'"),
        ("file,label,FILE\n", "two columns are called 'file'"),
        ("file,label,x,x\n", "two columns are called 'x'"),
        ("file;label\nx.wav;Bark\n", "its fields are separated by semicolons, expected commas"),
        ("file\tlabel\nx.wav\tBark\n", "its fields are separated by tabs, expected commas"),
        ("file|label\n", "its fields are separated by bars"),
        ("Filename,label\n", "the column 'file' is missing; rename 'Filename' to it"),
        ("file,class\n", "the column 'label' is missing; rename 'class' to it"),
        ("file,lable\n", "the column 'label' is missing; rename 'lable' to it"),
        ("x.wav,Bark\n", "the column 'file' is missing. Available: Bark, x.wav"),
        ('file,label\nx.wav,"Bark\ny.wav,Purr\n', r"line 2: not CSV \(a quote is not closed\)"),
        ('file,label\nx.wav,"Ba"rk\n', r"line 2: not CSV"),
        ('file,label\n"x.wav\ny.wav",Purr\n', "line 2: the file holds a line break"),
        ("file,label\nx.wav,Ba\x1brk\n", "line 2: the label holds a line break or control character"),
        ("file,label\nx.wav," + "y" * 200_000 + "\n", "line 2: not CSV .field larger than field limit"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(DeloresError, match=f"it: ({message})") as error:
        parse_table(text, "it", REQUIRED, OPTIONAL, lookalikes=LOOKALIKES)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("column", "like"),
    [("speaker", "group"), ("Speaker ID", "group"), ("client_id", "group"), ("offset", "start"), ("begin", "start"),
     ("Start (s)", "start"), ("strat", "start"), ("end", "duration"), ("grup", "group"), ("partition", "split")],
)  # fmt: skip
def test_a_column_that_looks_like_a_known_one_is_named(column: str, like: str) -> None:
    table = parse_table(f"file,label,{column}\na,b,c\n", "it", REQUIRED, OPTIONAL, lookalikes=LOOKALIKES)
    assert table.notes == [f"it: the column {column!r} is not used; if it is the {like}, call it {like!r}"]


def test_columns_of_the_user_s_own_are_no_note() -> None:
    text = "file,label,comment,age,group,speaker\na,b,c,d,e,f\n"
    assert not parse_table(text, "it", REQUIRED, OPTIONAL, lookalikes=LOOKALIKES).notes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\nä,b\n".encode("latin-1"), r"not UTF-8 \(byte 0xe4 in line 2\); save it as UTF-8"),
        ("file,label\na,b\n".encode("utf-16"), "UTF-16 or UTF-32 text"),
        ("file,label\na,b\n".encode("utf-16-le"), "UTF-16 or UTF-32 text"),
        (b"file,label\na,\0\n", "not text: it holds a zero byte in line 2"),
    ],
)
def test_other_encodings_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DeloresError, match=f"a.csv: {message}"):
        read_table(tmp_path / "a.csv", REQUIRED)


def test_damaged_bytes_give_a_table_or_one_line(tmp_path: Path) -> None:
    rng = random.Random(0)
    whole = b'file,label,split\na.wav,"Bark, loud",train\nb.wav,Purr,test\nc d.wav,Miau,valid\n'
    path = tmp_path / "a.csv"
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        try:
            table = read_table(path, REQUIRED, OPTIONAL, lookalikes=LOOKALIKES)
            assert all(set(row.cells) == set(table.columns) for row in table.rows)
        except DeloresError as error:  # (any other exception fails)
            assert "\n" not in str(error)  # noqa: PT017


@pytest.mark.parametrize("text", ["4_0", "inf", "nan", "1e400", "0x1", "1,5", "\u0661", "", "--1", "1e5_0", "1" * 5000])
def test_what_only_python_takes_for_a_number_is_none(text: str) -> None:
    assert math.isnan(read_number(text))
    assert [read_number(text) for text in ("4", " -0.5", "1.", ".25", "1E-3")] == [4.0, -0.5, 1.0, 0.25, 0.001]
