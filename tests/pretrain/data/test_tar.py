"""WebDataset shards: the same clips as from the unpacked files, and every odd thing a tar may hold."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hear_delores.errors import DeloresError
from pretrain.config import DataConfig, PretrainConfig, load_config
from pretrain.data.audio import read_piece
from pretrain.data.corpus import Corpus
from pretrain.data.pack import pack
from pretrain.data.packed import open_corpus
from pretrain.data.tar import expand_braces, read_members
from pretrain.training.start import pretrain


def encoded(seconds: float, kind: str = "wav", seed: int = 0, rate: int = 16000) -> bytes:
    """An audio file's bytes."""
    audio = 0.3 * np.sin(np.arange(round(seconds * rate)) * (0.05 + 0.01 * seed))
    stream = io.BytesIO()
    format_name, subtype = {"opus": ("OGG", "OPUS"), "mp3": ("MP3", None)}.get(kind, (kind.upper(), None))
    soundfile.write(stream, audio, rate, format=format_name, subtype=subtype)
    return stream.getvalue()


def write_tar(path: Path, members: dict[str, bytes], kind: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=kind) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def samples(shard: int, count: int = 3) -> dict[str, bytes]:
    """A shard as webdataset's TarWriter writes it."""
    members: dict[str, bytes] = {}
    for i in range(count):
        key = f"{shard:03d}{i:03d}"
        members |= {f"{key}.cls": b"7", f"{key}.json": b'{"a": 1}', f"{key}.txt": b"word"}
        members[f"{key}.wav"] = encoded(0.2 + 0.1 * i, seed=3 * shard + i)
    return members


def names(corpus: Corpus) -> list[str]:
    return [piece.name for piece in corpus.pieces]


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "opus"])
def test_members_sound_as_the_files_do(tmp_path: Path, kind: str) -> None:
    rate = 48000 if kind == "opus" else 22050
    contents = {f"x{i}.{kind}": encoded(0.5 + i, kind, i, rate) for i in range(3)}
    write_tar(tmp_path / "a.tar", {"x0.json": b"{}", **contents})
    (tmp_path / "files").mkdir()
    for name, content in contents.items():
        (tmp_path / "files" / name).write_bytes(content)
    config = DataConfig(piece_s=0.6)
    tar, files = Corpus.from_path(tmp_path / "a.tar", config), Corpus.from_path(tmp_path / "files", config)
    assert len(tar) == len(files) > 3
    for a, b in zip(tar.pieces, files.pieces, strict=True):
        assert a.name == f"a.tar/{b.name}"
        assert a[2:5] == b[2:5]
        np.testing.assert_array_equal(read_piece(a, 16000), read_piece(b, 16000))
    assert tar.summary()["files"] == 3


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_else_a_tar_holds_is_passed_over(tmp_path: Path, kind: int) -> None:
    path = write_tar(
        tmp_path / "a.tar",
        {
            "./train/b.wav": encoded(0.2),
            "train/._b.wav": b"a resource fork",
            ".hidden/c.wav": encoded(0.2),
            "b.json": b"{}",
            "README": b"",
            f"{'long/' * 20}{'n' * 60}.FLAC": encoded(0.1, "flac"),
            "train/a.b.c.wav": encoded(0.3),
        },
        kind,
    )
    with tarfile.open(path, "a") as tar:
        for name, type_ in (("folder.wav", tarfile.DIRTYPE), ("link.wav", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = type_, "train/b.wav"
            tar.addfile(info)
    corpus = Corpus.from_path(path)
    assert names(corpus) == ["a.tar/train/b.wav", f"a.tar/{'long/' * 20}{'n' * 60}.FLAC", "a.tar/train/a.b.c.wav"]
    assert [len(corpus.read(i)[0]) for i in range(3)] == [3200, 1600, 4800]


def test_a_folder_and_a_pattern_are_the_shards_in_order(tmp_path: Path) -> None:
    for shard in (10, 2, 1):
        write_tar(tmp_path / f"shards-{shard:03d}.tar", samples(shard))
    folder = Corpus.from_path(tmp_path)
    expected = [f"shards-{s:03d}.tar/{s:03d}{i:03d}.wav" for s in (1, 2, 10) for i in range(3)]
    assert names(folder) == expected
    assert names(Corpus.from_path(tmp_path / "shards-{001..002}.tar")) == expected[:6]
    assert names(Corpus.from_path(tmp_path / "shards-{010,001}.tar")) == expected[6:] + expected[:3]
    assert names(Corpus.from_path(tmp_path / "shards-002.tar")) == expected[3:6]
    with pytest.raises(DeloresError, match=r"shards-003.tar: there is no such tar \(7 of 10 are missing\)"):
        Corpus.from_path(tmp_path / "shards-{001..010}.tar")
    (tmp_path / "a.wav").write_bytes(encoded(0.2))
    assert names(Corpus.from_path(tmp_path)) == ["a.wav"]  # beside audio, a tar may be the download it came in


def test_shards_in_several_folders_have_their_own_names(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_tar(tmp_path / folder / "s.tar", samples(0, 1))
    expected = ["x/s.tar/000000.wav", "y/s.tar/000000.wav"]
    assert names(Corpus.from_path(tmp_path / "{x,y}" / "s.tar")) == expected
    assert names(Corpus.from_path(tmp_path)) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{000..002}.tar", ["a-000.tar", "a-001.tar", "a-002.tar"]),
        ("{8..11}", ["8", "9", "10", "11"]),
        ("{08..11}", ["08", "09", "10", "11"]),
        ("{2..0}", ["2", "1", "0"]),
        ("{0..1}{x,,y}", ["0x", "0", "0y", "1x", "1", "1y"]),
        ("{a}.tar", ["{a}.tar"]),
        ("{a..c}.tar", ["{a..c}.tar"]),
    ],
)
def test_braces_are_those_of_a_shell(pattern: str, expected: list[str]) -> None:
    assert expand_braces(pattern) == expected


def test_a_tar_cut_anywhere_is_named_or_read_up_to_there(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", samples(1)).read_bytes()
    ends = [member.offset + member.size for member in read_members(tmp_path / "whole.tar")[0] if ".wav" in member.name]
    path = tmp_path / "cut.tar"
    cuts = [ends[0] + 512, ends[0] - 100, ends[1] - 3000, ends[1] + 700, ends[1] + 1900, ends[2] - 1, ends[2] + 200]
    headers = range(0, ends[2], 512)
    for cut in [*cuts, *headers[1::9]]:
        path.write_bytes(whole[:cut])
        with pytest.raises(DeloresError, match=r"cut.tar: .*(cut short|no audio|uncompressed tar)") as caught:
            Corpus.from_path(path)
        assert "\n" not in str(caught.value)
        good = sum(end <= cut for end in ends)
        if good:
            corpus = Corpus.from_path(path, skip_bad=True)
            corpus.load()
            assert len(corpus) == good, cut
            assert [name for name, _ in corpus.skipped] == ["cut.tar"]


def test_bytes_overwritten_in_the_middle(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", samples(1))
    members, fault = read_members(path)
    assert fault is None
    content = bytearray(path.read_bytes())
    third = [member for member in members if member.name.endswith(".wav")][1]
    content[third.offset - 512 : third.offset] = b"x" * 512
    path.write_bytes(content)
    with pytest.raises(DeloresError, match=r"a.tar: damaged or cut short after 7 files.*--skip-bad"):
        Corpus.from_path(path)
    assert names(Corpus.from_path(path, skip_bad=True)) == ["a.tar/001000.wav"]


@pytest.mark.parametrize(
    ("kind", "size"), [(b"L", 1 << 40), (b"x", 1 << 40), (b"L", -2048), (b"0", -2048), (b"0", 1 << 62)]
)
def test_a_header_that_states_any_size(tmp_path: Path, kind: bytes, size: int) -> None:
    """Not read into memory, and not gone round in: a size below 0 leads back to where tarfile was."""
    info = tarfile.TarInfo("x.wav")
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (b"\xff" if size < 0 else b"\x80").ljust(4, b"\xff" if size < 0 else b"\0") + size.to_bytes(
        8, "big", signed=True
    )
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = write_tar(tmp_path / "a.tar", samples(1))
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    path.write_bytes(whole[:end] + bytes(block) + whole[end:])
    with pytest.raises(DeloresError, match=r"a.tar: (cut short|damaged or cut short) after"):
        Corpus.from_path(path)
    assert len(Corpus.from_path(path, skip_bad=True)) == 3


def test_no_audio_no_tar_and_bad_members(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"a.json": b"{}", "a.txt": b"x", "b": b""})
    with pytest.raises(DeloresError, match=r"a.tar: no audio members, but members of the kinds  \.json \.txt"):
        Corpus.from_path(path)
    write_tar(path, {})
    with pytest.raises(DeloresError, match=r"a.tar: no audio members, but nothing"):
        Corpus.from_path(path)
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x.wav"))
    with pytest.raises(DeloresError, match=r"a.tar: not an uncompressed tar"):
        Corpus.from_path(path)
    with pytest.raises(DeloresError, match="there is no folder or manifest"):
        Corpus.from_path(tmp_path / "b.tar")
    write_tar(path, {"a.wav": encoded(0.1), "b.wav": b"garbage" * 20, "c.wav": b"", "d.wav": encoded(0.2)[:-2000]})
    with pytest.raises(DeloresError, match=r"a.tar/b.wav: cannot be read as audio .*2 more bad files"):
        Corpus.from_path(path)
    corpus = Corpus.from_path(path, skip_bad=True)
    assert corpus.skipped[1] == ("a.tar/c.wav", f"{path}/c.wav: the file is empty (0 bytes)")
    assert corpus.skipped[2][1].startswith(f"{path}/d.wav: cut short")
    assert len(corpus.read(0)[0]) == 1600


def test_training_and_packing_from_shards(tmp_path: Path, tiny_s: PretrainConfig) -> None:
    for shard in range(2):
        write_tar(tmp_path / f"s-{shard}.tar", samples(shard, 5))
    pattern = tmp_path / "s-{0..1}.tar"
    path = pretrain(tiny_s, pattern, tmp_path / "run", quiet=True)
    assert pack(pattern, tmp_path / "pack", tiny_s).clips == 10
    again = pretrain(tiny_s, tmp_path / "pack", tmp_path / "again", quiet=True)
    losses = [json.loads((p.parent / "log.jsonl").read_text().splitlines()[-1])["loss"] for p in (path, again)]
    assert losses[0] == losses[1]
    config = load_config("demo-s", [])
    assert open_corpus(tmp_path / "pack", config).fingerprint() == open_corpus(pattern, config).fingerprint()


@pytest.mark.parametrize(
    "pattern",
    ["{0..99999999999}", "{99999999999..0}", "{0..9}" * 40, "{0..999}{0..999}", "{0.." + "9" * 5000 + "}",
     "{" + "," * 200_000 + "}", "{1.." + "0" * 4000 + "1}"],
)  # fmt: skip
def test_a_range_of_too_many_names_is_one_line(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(DeloresError, match="expands to more than 100,000 names") as error:
        expand_braces(pattern)
    assert len(str(error.value)) < 300
    with pytest.raises(DeloresError):
        Corpus.from_path(tmp_path / f"s-{pattern}.tar")


@pytest.mark.parametrize("pattern", ["{a,{0..2}}", "{" * 3000 + "0..9" + "}" * 3000, "{a{0..3}b}", "{0..2}}"])
def test_braces_within_braces_are_refused(pattern: str) -> None:
    with pytest.raises(DeloresError, match="expected no braces within braces"):
        expand_braces(pattern)
