"""Tables: `labels.csv` and manifests, label vocabularies, published figures, the leaderboard."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from tests.zoo.cases import EQUAL, HARMFUL, HARMLESS, OPEN, Case, Change, Expectation, Route
from tests.zoo.kinds.common import byte_cases, place_cases, replace_text, written
from tests.zoo.routes import EMBED, MANIFEST, OVERLAY, PREPARE, SCORE, STANDINGS

__all__ = ["cases"]

LABELS, ROWS = "in/corpus/labels.csv", "in/corpus/manifest.csv"
VOCABULARIES = {EMBED: "in/task/toy-1-full/labelvocabulary.csv", SCORE: "in/embeddings/toy-1-full/labelvocabulary.csv"}
LOUD = Route("prepare, not quiet", tuple(word for word in PREPARE.words if word != "--quiet"), PREPARE.inputs, "tasks")
LOUD_MANIFEST = Route(
    "pretrain on a manifest, not quiet", tuple(word for word in MANIFEST.words if word != "--quiet"), MANIFEST.inputs,
    "checkpoint",
)  # fmt: skip


def lines(change: Callable[[list[str]], list[str]], file: str) -> Change:
    """Changes a text file line by line."""

    def changed(work: Path, rng: random.Random) -> None:
        path = work / file
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n", encoding="utf-8", newline="")

    return changed


def _column(name: str, value: str) -> Callable[[list[str]], list[str]]:
    """One more column at the end."""
    return lambda rows: [f"{row},{value if i else name}" for i, row in enumerate(rows)]


def _reordered(rows: list[str]) -> list[str]:
    return [",".join(reversed(row.split(","))) for row in rows]


def _row(number: int, text: str) -> Callable[[list[str]], list[str]]:
    return lambda rows: [*rows[:number], text, *rows[number + 1 :]]


def _more(text: str) -> Callable[[list[str]], list[str]]:
    return lambda rows: [*rows, text]


def _labels(*names: str) -> Callable[[list[str]], list[str]]:
    """Other names for a, b, c."""

    def change(rows: list[str]) -> list[str]:
        found = [rows[0]]
        for row in rows[1:]:
            fields = row.split(",")
            fields[1] = names["abc".index(fields[1])]
            found.append(",".join(fields))
        return found

    return change


#: Of ``file,label,group,split``; row 5 is c04.wav,b,g4,valid.
LABEL_CASES: dict[str, tuple[Callable[[list[str]], list[str]], Expectation]] = {
    "a field too many": (_row(5, "c04.wav,b, dog,g4,valid"), HARMFUL),
    "a field too many at the end": (_row(5, "c04.wav,b,g4,valid,more"), HARMFUL),
    "a comma at the end of a row": (_row(5, "c04.wav,b,g4,valid,"), EQUAL),
    "a field too few": (_row(5, "c04.wav,b,valid"), HARMFUL),
    "one field alone": (_row(5, "c04.wav"), HARMFUL),
    "an unclosed quote": (_row(5, '"c04.wav,b,g4,valid'), HARMFUL),
    "text after a quote": (_row(5, '"c04.wav"x,b,g4,valid'), HARMFUL),
    "every field quoted": (lambda rows: [",".join(f'"{f}"' for f in row.split(",")) for row in rows], HARMLESS),
    "columns reversed": (_reordered, HARMLESS),
    "blanks in the header": (_row(0, "file, label , group,split "), HARMLESS),
    "blanks around fields": (_row(5, " c04.wav , b , g4 , valid "), HARMLESS),
    "capitals in the header": (_row(0, "File,Label,Group,Split"), EQUAL),
    "a column twice": (_row(0, "file,label,label,split"), HARMFUL),
    "a column twice but for case": (_row(0, "file,label,Label,split"), OPEN),
    "an unknown column": (_column("comment", "hello"), HARMLESS),
    "a column without a name": (_column("", "hello"), EQUAL),
    "split and fold": (_column("fold", "0"), HARMFUL),
    "no header": (lambda rows: rows[1:], HARMFUL),
    "the header twice": (lambda rows: [rows[0], *rows], HARMFUL),
    "the header alone": (lambda rows: rows[:1], HARMFUL),
    "semicolons": (lambda rows: [row.replace(",", ";") for row in rows], HARMFUL),
    "tabs": (lambda rows: [row.replace(",", "\t") for row in rows], HARMFUL),
    "a comment line": (lambda rows: ["# made by hand", *rows], HARMFUL),
    "a blank line inside": (lambda rows: [*rows[:3], "", *rows[3:]], EQUAL),
    "a file twice": (_more("c04.wav,b,g4,valid"), HARMFUL),
    "a file twice, in two splits": (_more("c04.wav,b,g4,test"), HARMFUL),
    "a file twice, as ./": (_more("./c04.wav,b,g4,test"), HARMFUL),
    "a file twice, by its folder's name": (_more("../corpus/c04.wav,b,g4,test"), HARMFUL),
    "a file twice, as //": (_more(".//c04.wav,b,g4,test"), HARMFUL),
    "a group in two splits": (_row(5, "c04.wav,b,g0,valid"), HARMFUL),
    "an unknown split": (_row(5, "c04.wav,b,g4,dev"), HARMFUL),
    "a split in capitals": (_row(5, "c04.wav,b,g4,Valid"), EQUAL),
    "a split with a nul": (_row(5, "c04.wav,b,g4,valid\0"), HARMFUL),
    "no clip of valid": (lambda rows: [row for row in rows if not row.endswith("valid")], HARMFUL),
    "splits and folds": (_row(5, "c04.wav,b,g4,fold00"), HARMFUL),
    "two folds": (lambda rows: [rows[0], *(f"{r.rpartition(',')[0]},fold{i % 2}" for i, r in enumerate(rows[1:]))], HARMFUL),
    "a fold of 5,000 digits": (lambda rows: [rows[0], *(f"{r.rpartition(',')[0]},{i % 3}{'0' * 5000 if i == 2 else ''}" for i, r in enumerate(rows[1:]))], OPEN),
    "no label": (_row(5, "c04.wav,,g4,valid"), HARMFUL),
    "a blank label": (_row(5, "c04.wav,  ,g4,valid"), HARMFUL),
    "two labels": (_row(5, "c04.wav,a;b,g4,valid"), HARMFUL),
    "a label with a nul": (_row(5, "c04.wav,b\0,g4,valid"), HARMFUL),
    "labels NA, nan, None": (_labels("NA", "nan", "None"), OPEN),
    "labels 1, 01, 001": (_labels("1", "01", "001"), OPEN),
    "labels of Arabic digits": (_labels("\u0661", "\u0662", "\u0663"), OPEN),
    "labels of superscripts": (_labels("\u00b2", "\u00b3", "\u00b9"), OPEN),
    "labels composed and decomposed": (_labels("\u00e9", "e\u0301", "c"), OPEN),
    "labels true, 1.0, 1e3": (_labels("true", "1.0", "1e3"), OPEN),
    "labels with quotes": (_labels('"x ""y"""', '"p,q"', "z"), OPEN),
    "a label of 200,000 characters": (_row(5, f"c04.wav,{'b' * 200000},g4,valid"), HARMFUL),
    "numeric labels of 5,000 digits": (_labels("1" * 5000, "2" * 5000, "3"), OPEN),
    "no file": (_row(5, ",b,g4,valid"), HARMFUL),
    "a file that is not there": (_row(5, "nowhere.wav,b,g4,valid"), HARMFUL),
    "a file that is a folder": (_row(5, "../corpus,b,g4,valid"), HARMFUL),
    "a file name of 5,000 characters": (_row(5, f"{'x' * 5000}.wav,b,g4,valid"), HARMFUL),
    "a file name with a nul": (_row(5, "c04\0.wav,b,g4,valid"), HARMFUL),
    "a file name with a line end": (_row(5, '"c0\n4.wav",b,g4,valid'), HARMFUL),
    "a file name of two dots": (_row(5, "..,b,g4,valid"), HARMFUL),
    "a home folder": (_row(5, "~/c04.wav,b,g4,valid"), HARMFUL),
    "an address": (_row(5, "http://127.0.0.1/c04.wav,b,g4,valid"), HARMFUL),
    "a pipe": (_row(5, "|touch precious2,b,g4,valid"), HARMFUL),
}  # fmt: skip

#: Of ``file,start,duration``; row 5 is c04.wav,0.0,0.4.
ROW_CASES: dict[str, tuple[Callable[[list[str]], list[str]], Expectation]] = {
    **{f"start {value or 'of one blank'}": (_row(5, f"c04.wav,{value},0.4"), HARMFUL)
       for value in ("-1", "nan", "inf", "-inf", "x", "1e300", "10", "0x1", "0,0", "1_0", "0:01")},
    **{f"duration {value}": (_row(5, f"c04.wav,0.0,{value}"), HARMFUL) for value in ("-1", "0", "nan", "x", "1e-9", "4_0")},
    **{f"duration {value}": (_row(5, f"c04.wav,0.0,{value}"), OPEN) for value in ("inf", "1e300", "99")},
    "no start": (_row(5, "c04.wav,,0.4"), HARMLESS),
    "no duration": (_row(5, "c04.wav,0.0,"), OPEN),
    "a field too many": (_row(5, "c04.wav,0.0,0.4,9"), HARMFUL),
    "a field too few": (_row(5, "c04.wav,0.0"), EQUAL),
    "blanks in the header": (_row(0, "file, start, duration"), HARMLESS),
    "capitals in the header": (_row(0, "File,Start,Duration"), EQUAL),
    "a column twice": (_row(0, "file,start,start"), HARMFUL),
    "columns reversed": (_reordered, HARMLESS),
    "semicolons": (lambda rows: [row.replace(",", ";") for row in rows], HARMFUL),
    "no header": (lambda rows: rows[1:], HARMFUL),
    "the header alone": (lambda rows: rows[:1], HARMFUL),
    "a row twice": (_more("c04.wav,0.0,0.4"), OPEN),
    "a file that is not there": (_row(5, "nowhere.wav,0.0,0.4"), HARMFUL),
    "a file that is a folder": (_row(5, "../corpus,0.0,0.4"), HARMFUL),
    "no file": (_row(5, ",0.0,0.4"), HARMFUL),
    "a file name with a nul": (_row(5, "c04\0.wav,0.0,0.4"), HARMFUL),
    "a file name of 5,000 characters": (_row(5, f"{'x' * 5000}.wav,0.0,0.4"), HARMFUL),
    "an unclosed quote": (_row(5, '"c04.wav,0.0,0.4'), HARMFUL),
    "an unknown column": (_column("comment", "hello"), HARMLESS),
}  # fmt: skip

VOCABULARY: dict[str, tuple[str, Expectation]] = {
    "rows in another order": ("idx,label\n2,c\n0,a\n1,b\n", EQUAL),
    "columns reversed": ("label,idx\na,0\nb,1\nc,2\n", HARMLESS),
    "an index twice": ("idx,label\n0,a\n1,b\n1,c\n", HARMFUL),
    "an index that is missing": ("idx,label\n0,a\n1,b\n3,c\n", HARMFUL),
    "indices from 1": ("idx,label\n1,a\n2,b\n3,c\n", HARMFUL),
    "a negative index": ("idx,label\n-1,a\n0,b\n1,c\n", HARMFUL),
    "a fraction as an index": ("idx,label\n0.0,a\n1.0,b\n2.0,c\n", HARMFUL),
    "an index with an underscore": ("idx,label\n0,a\n1,b\n0_2,c\n", HARMFUL),
    "an index of Arabic digits": ("idx,label\n0,a\n1,b\n\u0662,c\n", HARMFUL),
    "an index with a leading zero": ("idx,label\n0,a\n1,b\n02,c\n", EQUAL),
    "an index of 5,000 digits": (f"idx,label\n0,a\n1,b\n{'9' * 5000},c\n", HARMFUL),
    "a label twice": ("idx,label\n0,a\n1,b\n2,c\n3,a\n", HARMFUL),
    "a label that is missing": ("idx,label\n0,a\n1,b\n", HARMFUL),
    "an empty label": ("idx,label\n0,a\n1,b\n2,c\n3,\n", OPEN),
    "a row of one field": ("idx,label\n0,a\n1,b\n2,c\n3\n", HARMFUL),
    "a field too many": ("idx,label\n0,a\n1,b,x\n2,c\n", HARMFUL),
    "one label more": ("idx,label\n0,a\n1,b\n2,c\n3,d\n", OPEN),
    "no header": ("0,a\n1,b\n2,c\n", HARMFUL),
    "other columns": ("index,name\n0,a\n1,b\n2,c\n", HARMFUL),
    "a column twice": ("idx,label,label\n0,a,x\n1,b,y\n2,c,z\n", HARMFUL),
    "blanks in the header": ("idx, label\n0,a\n1,b\n2,c\n", EQUAL),
    "blanks before labels": ("idx,label\n0, a\n1, b\n2, c\n", EQUAL),
    "an unclosed quote": ('idx,label\n0,a\n1,b\n2,"c\n', HARMFUL),
    "labels in capitals": ("idx,label\n0,A\n1,B\n2,C\n", HARMFUL),
    "labels swapped": ("idx,label\n0,b\n1,a\n2,c\n", OPEN),
}

FIGURES: dict[str, tuple[tuple[str, str], Expectation]] = {
    **{f"a score of {value or 'nothing'}": (("51.5", value), HARMFUL) for value in ("x", "nan", "inf", "1e400", "5_1", "51,5")},
    "a score of nothing": (("51.5", ""), OPEN),  # none is known of that task
    "a score of -3": (("51.5", "-3"), OPEN),
    "a score of 5150": (("51.5", "5150"), OPEN),
    "a field too many": (("test,somewhere\npaper B", "test,somewhere,else\npaper B"), HARMFUL),
    "a field too few": (("linear,test,somewhere\npaper B", "linear,test\npaper B"), HARMFUL),
    "no column score": (("metric,score", "metric,value"), HARMFUL),
    "a column twice": (("metric,score", "score,score"), HARMFUL),
    "blanks in the header": (("model,task,metric", "model, task, metric"), EQUAL),
    "an unknown task": (("A,esc50", "A,esc05"), OPEN),
    "an unknown metric": (("esc50,top1_acc,51.5", "esc50,top2_acc,51.5"), OPEN),
    "a row twice": (("paper B,esc50,top1_acc,61.5", "paper A,esc50,top1_acc,61.5"), OPEN),
    "a model with markup": (("paper A", "<script>alert(1)</script>"), OPEN),
    "a model with a bar": (("paper A", "paper|A"), OPEN),
}  # fmt: skip

BOARD: dict[str, tuple[tuple[str, str], Expectation]] = {
    **{f"a score of {value}": (("0.634929073", value), HARMFUL) for value in ("x", "nan", "inf", "0_6", "1e400")},
    "a score of 63": (("0.634929073", "63.4"), OPEN),
    "a score of -1": (("0.634929073", "-1"), OPEN),
    "a field too many": (("0.634929073", "0.634929073,0"), HARMFUL),
    "a field too few": ((",0.634929073", ""), HARMFUL),
    "a column renamed": (("ESC-50", "ESC50"), HARMFUL),
    "a column twice": (("ESC-50", "Gunshot"), HARMFUL),
    "two columns swapped": (("ESC-50,FSD50K", "FSD50K,ESC-50"), OPEN),
    "a model twice": (("AMAAI wav2vec2 music+speech", "AMAAI Lab wav2vec2+DDSP"), OPEN),
}


def _pairs(kind: str, route: Route, file: str, table: dict[str, tuple[tuple[str, str], Expectation]]) -> list[Case]:
    return [
        Case(kind, f"{route.name}: {name}", route, expect, replace_text(file, old, new, 1))
        for name, ((old, new), expect) in table.items()
    ]


def _near_names() -> list[Case]:
    """A column that looks like a known one is read or named, never ignored."""
    found = []
    for name in ("offset", "begin", "Start time", "starts", "onset"):
        change = lines(lambda rows, name=name: [r.replace("start", name).replace(",0.0,", ",0.1,") for r in rows], ROWS)  # type: ignore[misc]
        found.append(Case("csv", f"manifest: a column {name!r}", LOUD_MANIFEST, OPEN, change, mention=name))
    for name in ("speaker", "Groupe", "speaker_id", "Speaker ID", "groups"):
        change = lines(lambda rows, name=name: [r.replace("group", name) for r in rows], LABELS)  # type: ignore[misc]
        found.append(Case("csv", f"prepare: a column {name!r}", LOUD, OPEN, change, mention=name))
    return found


def cases() -> list[Case]:
    """All of this kind."""
    found = [Case("csv", f"prepare: {n}", PREPARE, e, lines(c, LABELS)) for n, (c, e) in LABEL_CASES.items()]
    found += [Case("csv", f"manifest: {n}", MANIFEST, e, lines(c, ROWS)) for n, (c, e) in ROW_CASES.items()]
    for route, file in VOCABULARIES.items():
        for name, (text, expect) in VOCABULARY.items():
            found.append(
                Case(
                    "csv",
                    f"{route.name}: vocabulary: {name}",
                    route,
                    expect,
                    written(file, text),
                    agree=f"vocabulary: {name}",
                )
            )
        found += byte_cases("csv", route, file, agree=True)
        found += place_cases("csv", route, file)
    found += _pairs("csv", OVERLAY, "in/overlay.csv", FIGURES) + _pairs("csv", STANDINGS, "in/leaderboard.csv", BOARD)
    found += _near_names()
    for route, file in (
        (PREPARE, LABELS),
        (MANIFEST, ROWS),
        (OVERLAY, "in/overlay.csv"),
        (STANDINGS, "in/leaderboard.csv"),
    ):
        found += byte_cases("csv", route, file)
        found += place_cases("csv", route, file)
    return found
