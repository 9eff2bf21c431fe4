"""``delores pool``: from packages that are made here to a pool, its table and its licences."""

from __future__ import annotations

import csv
import io
import itertools
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr

from hear_delores.errors import DeloresError
from pretrain.pools import pool as pool_module
from pretrain.pools.clips import fingerprint, near_duplicates, trimmed
from pretrain.pools.debian import open_archive, unpacked
from pretrain.pools.licences import Licences
from pretrain.pools.parts import make_part
from pretrain.pools.pool import COLUMNS, Made, make_pool
from pretrain.pools.recipe import list_recipes, read_recipe
from pretrain.pools.unit import Sound, Unit
from tests.pretrain.pools.packages import make_deb, make_soundfont, noise, wav

COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2001 A
License: GPL-2+

Files: data/sounds/bell*.wav
 data/other/*
Copyright: 2002 B
License: CC-BY-SA-3.0

Files: debian/*
License: Expat

License: GPL-2+
 On Debian systems the text is in /usr/share/common-licenses/GPL-2.
"""
BELL, DOG = noise(1, 0.7), noise(2, 0.5)


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"sound/{name}.wav", data)
    return stream.getvalue()


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packages: one of effects in files and in a pk3, one of a single long recording."""
    folder = tmp_path_factory.mktemp("debs")
    stereo = np.stack([soxr.resample(DOG, 16000, 44100)] * 2, axis=1)
    quiet = np.concatenate([np.zeros(8000), noise(3, 0.4), np.zeros(8000)])
    make_deb(
        folder,
        "tiny-data",
        {
            "usr/share/doc/tiny-data/copyright": COPYRIGHT.encode(),
            "usr/share/games/tiny/sounds/bell.wav": wav(BELL),
            "usr/share/games/tiny/sounds/bell-softer.wav": wav(0.3 * BELL),  # the same but for its level
            "usr/share/games/tiny/sounds/dog.flac": wav(stereo, 44100, "FLAC"),
            "usr/share/games/tiny/sounds/silence.wav": wav(np.zeros(16000)),
            "usr/share/games/tiny/sounds/padded.ogg": wav(quiet, format="OGG"),
            "usr/share/games/tiny/sounds/broken.ogg": b"OggS no more",
            "usr/share/games/tiny/pak0.pk3": zipped(hit=wav(noise(4, 0.3)), dog_again=wav(DOG)),
            "usr/share/games/tiny/readme.txt": b"no audio",
        },
    )
    text = (
        b"This is from http://example.org.\nLicensed under the Creative Commons Attribution-ShareAlike 3.0 license.\n"
    )
    song = np.concatenate([noise(5 + k, 21 / 11) for k in range(11)])  # no two parts of it are alike
    files = {"usr/share/doc/long-music/copyright": text, "usr/share/long/song.wav": wav(song)}
    make_deb(folder, "long-music", files)
    return folder


Pool = Callable[..., tuple[Made, list[dict[str, str]]]]


@pytest.fixture
def make(debs: Path, tmp_path: Path) -> Pool:
    """Makes the pool of a recipe's text in a folder, and reads its table."""

    def made(recipe: str, name: str = "pool", **options: Any) -> tuple[Made, list[dict[str, str]]]:
        (tmp_path / "recipe.yaml").write_text(recipe)
        found = make_pool(tmp_path / "recipe.yaml", tmp_path / name, debs=[debs], **options)
        with found.table.open(newline="") as stream:
            return found, list(csv.DictReader(stream))

    return made


EFFECTS = "sources:\n  - {name: effects, kind: debian, packages: [tiny-data]}\n"
MUSIC = "clip_s: 2\nsources:\n  - {name: music, kind: debian, packages: [long-music]"


def test_a_package_becomes_clips_with_their_licences(make: Pool, tmp_path: Path) -> None:
    made, rows = make(EFFECTS)
    assert tuple(rows[0]) == COLUMNS
    start = "usr/share/games/tiny"
    assert [(row["original"], row["licence"]) for row in rows] == [
        (f"{start}/pak0.pk3/sound/dog_again.wav", "GPL-2+"),
        (f"{start}/pak0.pk3/sound/hit.wav", "GPL-2+"),
        (f"{start}/sounds/bell-softer.wav", "CC-BY-SA-3.0"),
        (f"{start}/sounds/padded.ogg", "GPL-2+"),
    ]
    assert {(row["source"], row["package"], row["version"]) for row in rows} == {("effects", "tiny-data", "1.0-1")}
    assert made.near == 2  # the bell at its own level, and the dog at another rate in stereo
    assert [(source, name.rpartition("/")[2]) for source, name, _ in made.skipped] == [
        ("effects/tiny-data", "broken.ogg")
    ]
    samples, rate = soundfile.read(tmp_path / "pool" / rows[0]["file"], dtype="int16")
    assert rate == 16000
    np.testing.assert_array_equal(samples, soundfile.read(io.BytesIO(wav(DOG)), dtype="int16")[0])
    info = soundfile.info(tmp_path / "pool" / rows[3]["file"])
    assert 0.4 <= info.duration <= 0.4 + 6 * 0.02  # the second of silence around it is gone
    assert sum(float(row["hours"]) for row in rows) == pytest.approx(sum(made.hours.values()), abs=4e-6)
    assert len(list((tmp_path / "pool").rglob("*.flac"))) == 4  # what is left out is no file, either
    assert (tmp_path / "pool/audio/effects/tiny-data/copyright.txt").read_text() == COPYRIGHT


def test_the_same_bytes_again_whole_or_interrupted(make: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = EFFECTS + "  - {name: music, kind: debian, packages: [long-music]}\n"
    make(both, "whole")
    real = pool_module.make_part

    def killed(folder: Path, unit: Any, recipe: Any) -> Any:
        if unit.name == "long-music":
            raise KeyboardInterrupt
        return real(folder, unit, recipe)

    monkeypatch.setattr(pool_module, "make_part", killed)
    with pytest.raises(KeyboardInterrupt):
        make(both, "cut")
    monkeypatch.setattr(
        pool_module, "make_part", lambda folder, unit, recipe: made.append(unit.name) or real(folder, unit, recipe)
    )
    made: list[str] = []
    make(both, "cut")
    assert made == ["long-music"]

    def content(folder: Path) -> dict[str, bytes]:
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_long_recordings_are_cut_and_capped(make: Pool, tmp_path: Path) -> None:
    _, rows = make(f"{MUSIC}}}\n", "all")
    assert [float(row["original_start"]) for row in rows] == pytest.approx([k * 21 / 11 for k in range(11)], abs=1e-3)
    assert {row["licence"] for row in rows} == {"CC-BY-SA-3.0"}
    _, rows = make(f"{MUSIC}, minutes_per_file: 0.1}}\n", "spread")  # three clips of two seconds
    assert [float(row["original_start"]) for row in rows] == pytest.approx([k * 21 / 11 for k in (1, 5, 9)], abs=1e-3)
    made, rows = make(f"{MUSIC}, max_hours: 0.003}}\n", "all")  # 10.8 of 21 s: five clips of 1.91 s
    assert (len(rows), made.capped) == (5, 6)
    assert len(list((tmp_path / "all").rglob("*.flac"))) == 5
    assert len(make(f"{MUSIC}}}\n", "all")[1]) == 11  # and all of them again


def test_no_clip_of_a_task_is_in_the_pool(make: Pool, tmp_path: Path) -> None:
    task = tmp_path / "task" / "16000" / "train"
    task.mkdir(parents=True)
    soundfile.write(task / "1.wav", np.concatenate([0.5 * BELL, np.zeros(4000)]), 16000)
    made, rows = make(EFFECTS, without=[tmp_path / "task"])
    assert not [row for row in rows if "bell" in row["original"]]
    assert made.near == 3


def test_near_duplicates_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    base = rng.integers(-60, 1, (40, 96))
    prints = np.clip(np.repeat(base, 3, axis=0) + rng.integers(-1, 2, (120, 96)) * rng.integers(0, 3, (120, 1)), -60, 0)
    lengths = rng.choice([1000, 1020, 1500], 120)
    known = rng.random(120) < 0.1
    order = rng.permutation(120)
    prints, expected = prints[order].astype(np.int8), np.zeros(120, bool)
    for i in range(120):
        for j in range(i):
            apart = np.sqrt(np.mean((prints[i].astype(float) - prints[j]) ** 2))
            alike = apart <= 1.0 and abs(np.log(lengths[i] / lengths[j])) <= 0.05
            expected[i] |= bool(alike and not expected[j] and not known[i])
    assert 10 < expected.sum() < 70
    np.testing.assert_array_equal(near_duplicates(prints, lengths, known), expected)


def test_fingerprints_tell_sounds_apart_and_levels_not() -> None:
    one, other = (np.rint(noise(seed, 0.6) * 32767).astype(np.int16) for seed in (1, 2))
    softer = (one // 4).astype(np.int16)
    assert np.abs(fingerprint(one, 16000) - fingerprint(softer, 16000).astype(int)).max() <= 1
    apart = fingerprint(one, 16000).astype(float) - fingerprint(other, 16000)
    assert np.sqrt(np.mean(apart**2)) > 3
    assert len(trimmed(np.zeros(5000, np.int16), 16000)) == 0


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="compared with dpkg-deb, which is not there")
def test_packages_are_read_as_dpkg_reads_them(debs: Path, tmp_path: Path) -> None:
    path = debs / "tiny-data_1.0-1_all.deb"
    fields = subprocess.run(["dpkg-deb", "-f", path, "Package", "Version"], capture_output=True, text=True, check=True)
    archive = open_archive(path)
    assert fields.stdout == f"Package: {archive.package}\nVersion: {archive.version}\n"
    subprocess.run(["dpkg-deb", "-x", path, tmp_path / "theirs"], check=True)
    (tmp_path / "ours").mkdir()
    ours = {name: local.read_bytes() for name, local in unpacked(archive, tmp_path / "ours", lambda name: True)}
    theirs = tmp_path / "theirs"
    assert ours == {p.relative_to(theirs).as_posix(): p.read_bytes() for p in theirs.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("On Debian systems, see /usr/share/common-licenses/GPL-3.", "GPL-3"),
        ("I hereby release it under the MIT license; drums are in the public domain.", "MIT and public-domain"),
        ("Tiny SoundFont (MIT, parts CC0):", "CC0-1.0 and MIT"),
        ("Ask the author.", "see its copyright file"),
    ],
)
def test_what_prose_says_of_licences(text: str, licence: str) -> None:
    assert Licences(text).of("usr/share/x.wav") == licence
    assert Licences(text, "CC0-1.0").of("usr/share/x.wav") == "CC0-1.0"


def test_a_folder_and_its_licence(make: Pool, tmp_path: Path) -> None:
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    soundfile.write(tmp_path / "mine" / "deep" / "a.wav", BELL, 16000)
    _, rows = make("sources:\n  - {name: own, kind: folder, path: mine, licence: CC0-1.0}\n")
    assert [(row["original"], row["licence"], row["package"]) for row in rows] == [("deep/a.wav", "CC0-1.0", "")]
    _, rows = make("sources:\n  - {name: own, kind: folder, path: mine, licence: CC-BY-4.0}\n")  # the recipe was wrong
    assert [row["licence"] for row in rows] == ["CC-BY-4.0"]


def test_a_pool_within_its_own_source_is_no_source_of_itself(make: Pool, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    soundfile.write(tmp_path / "mine" / "z.wav", BELL, 16000)
    recipe = "sources:\n  - {name: own, kind: folder, path: mine}\n"
    _, rows = make(recipe, "mine/a_pool")
    _, again = make(recipe, "mine/a_pool")
    assert [row["original"] for row in rows] == ["z.wav"]
    assert again == rows
    soundfile.write(tmp_path / "dog.wav", DOG, 16000)
    (tmp_path / "mine" / "z.wav").rename(tmp_path / "z.wav")
    (tmp_path / "dog.wav").rename(tmp_path / "mine" / "dog.wav")
    (tmp_path / "others").mkdir()
    (tmp_path / "z.wav").rename(tmp_path / "others" / "z.wav")
    with pytest.raises(DeloresError, match="expected clips, but its sources give none"):
        make(recipe.replace("mine", "others"), "others_pool", without=[tmp_path / "mine"])  # a pool is audio, too


def test_files_that_are_not_there_any_more_are_listed(make: Pool, tmp_path: Path) -> None:
    for name in ("mine", "task"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / f"{name}.wav", BELL if name == "mine" else DOG, 16000)
        (tmp_path / name / "gone.wav").symlink_to(tmp_path / "nothing.wav")
    made, rows = make("sources:\n  - {name: own, kind: folder, path: mine}\n", without=[tmp_path / "task"])
    assert [row["original"] for row in rows] == ["mine.wav"]
    assert [(source, Path(name).name) for source, name, _ in made.skipped] == [
        ("own/files", "gone.wav"), ("without", "gone.wav")
    ]  # fmt: skip
    assert (made.table.parent / "skipped.csv").read_text().count("gone.wav") == 2


def test_notes_of_a_sound_font(make: Pool, debs: Path) -> None:
    pytest.importorskip("tinysoundfont")
    make_deb(debs, "tiny-font", {"usr/share/sounds/sf2/tiny.sf2": make_soundfont()})
    recipe = "sources:\n  - {name: notes, kind: soundfont, packages: [tiny-font], max_hours: 0.01, licence: MIT"
    made, rows = make(f"{recipe}}}\n")
    assert 0.01 <= made.hours["notes", "MIT"] < 0.013
    groups = [row["group"] for row in rows]
    assert all(groups.count(group) <= 3 for group in groups)
    assert len(set(groups)) == -(-len(rows) // 3)
    instruments = {(row["group"], row["original"].partition(": ")[2].partition(",")[0]) for row in rows}
    assert len(instruments) == len(set(groups))  # one for each group
    _, again = make(f"{recipe}, renditions: 2}}\n", "other")
    _, melodies = make(f"{recipe}, renditions: 2, group_by: melody}}\n", "melodies")
    assert [row["hours"] for row in again] != [row["hours"] for row in melodies]
    pairs = [(a["hours"], b["hours"]) for a, b in zip(melodies[::2], melodies[1::2], strict=False)]
    assert sum(a == b for a, b in pairs) > len(pairs) / 2  # the same notes by the same sample, mostly not drums


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_words_of_espeak(make: Pool, debs: Path) -> None:
    make_deb(debs, "wtiny", {"usr/share/dict/tiny": "Haus\nKatze\nBäume\nx\nwon't\n".encode()})
    recipe = "sources:\n  - {name: words, kind: espeak, max_hours: 0.002, words: 2, licence: GPL-3+, renditions: 2,"
    _, rows = make(f"{recipe} languages: {{de: wtiny, en-us: [river, mountain]}}}}\n")
    said: dict[str, set[str]] = {}
    for row in rows:
        voice, _, text = row["original"].partition(": ")
        said.setdefault(row["group"], set()).add(text)
        assert set(text.split()) <= ({"Haus", "Katze", "Bäume"} if voice.startswith("de+") else {"river", "mountain"})
    assert all(len(texts) == 1 for texts in said.values())
    assert {row["package"] for row in rows} == {"espeak-ng"}


def test_sounds_without_end_that_give_no_clip_come_to_an_end(tmp_path: Path) -> None:
    """Blank words of espeak-ng, or a sound font of silence: 200 in a row are enough."""
    heard = [Sound(np.zeros(800, np.int16), "silence", 0.0, "", "")] * 199
    heard.append(Sound((8000 * noise(1, 0.5)).astype(np.int16), "noise", 0.0, "", ""))
    unit = Unit("s", "en", "", "", {}, lambda work: itertools.chain(heard, itertools.cycle(heard[:1])), hours=1.0)
    (tmp_path / "r.yaml").write_text("sources: [{name: s, kind: espeak, languages: {en: [' ']}}]\n")
    part = make_part(tmp_path / "part", unit, read_recipe(tmp_path / "r.yaml")[0])
    assert [clip.original for clip in part.clips] == ["noise"]
    assert part.faults == [("en", "no more were made: 200 sounds in a row are silent or shorter than 0.1 s")]


# --- what is refused


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("", "expected keys with values, such as `sources:`"),
        ("sources: []", "sources: expected at least one, but got none"),
        ("sources:", "sources: expected a list"),
        ("seed: 1", "sources: expected a value, but there is none"),
        ("sources:\n  - {name: a, kind: debain, packages: [x]}", "Did you mean 'debian'"),
        ("sources:\n  - {name: a, kind: debian, packages: [xy], hours: 3}", "sources.0.hours: there is no such key"),
        ("sources:\n  - {name: ../a, kind: folder, path: x}", "sources.0.name: expected a plain name"),
        ("sources:\n  - {name: a, kind: debian, packages: [--help]}", "sources.0.packages.0: "),
        (EFFECTS + "  - {name: effects, kind: folder, path: x}", "two sources are called 'effects'"),
        ("sources:\n  - {name: a, kind: folder, path: nowhere}", "there is no such folder"),
    ],
)
def test_a_bad_recipe_is_one_line(make: Pool, recipe: str, message: str) -> None:
    with pytest.raises(DeloresError) as raised:
        make(recipe + "\n")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_cannot_be_had_is_said(make: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeloresError, match="apt-get download missing-data"):
        make("sources:\n  - {name: a, kind: debian, packages: [missing-data]}\n")
    with pytest.raises(DeloresError, match="each is longer than max_hours allows"):
        make(f"{EFFECTS[:-2]}, max_hours: 1.0e-9}}\n", "capped")
    with pytest.raises(DeloresError, match=r"there is no recipe 'fre'.*Did you mean 'free'"):
        read_recipe("fre")
    (tmp_path / "bad_1_all.deb").write_bytes(b"!<arch>\nshort")
    with pytest.raises(DeloresError, match="not a readable Debian package"):
        open_archive(tmp_path / "bad_1_all.deb")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.txt").write_text("precious")
    with pytest.raises(DeloresError, match=r"expected an empty folder or a pool, but it holds thesis\.txt"):
        make(EFFECTS, "taken")


@pytest.mark.parametrize("name", list_recipes())
def test_the_bundled_recipes_can_be_read(name: str) -> None:
    recipe, _ = read_recipe(name)
    packages = [package for source in recipe.sources for package in getattr(source, "packages", ())]
    assert len(set(packages)) == len(packages)
    assert not [package for package in packages if package.startswith(("asterisk-", "hydrogen-"))]
