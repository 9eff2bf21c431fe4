"""The corpora behind HEAR's own tasks, each on a miniature laid out as it is distributed, odd cases included."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from miniatures import by_split, reads, refused, sound

from benchmarks.tasks.corpora import gunshot as shots
from benchmarks.tasks.corpora import prepare_corpus
from benchmarks.tasks.corpora.fsd50k import TOO_LONG
from benchmarks.tasks.corpora.hear_draw import new_folds, train_valid_test
from benchmarks.tasks.corpora.raw_corpus import check_whole, read_corpus
from benchmarks.tasks.corpora.recordings import Reading, crossing_groups
from benchmarks.tasks.registry import TaskSpec, find_task
from hear_delores.errors import DeloresError

STROKES = ("bheem", "cha", "dheem", "dhin", "num", "ta", "tha", "tham", "thi", "thom")
TONICS = ("b", "c", "csh", "d", "dsh", "e")


def redrawn(reading: Reading) -> dict[str, str]:
    """Split by file of the folds that the benchmark's rule gives, drawn from the files and labels alone."""
    bare = [dataclasses.replace(item, split="") for item in reading.recordings]
    return {item.file: item.split for item in new_folds(bare, len({r.split for r in reading.recordings}))}


def splits(reading: Reading) -> dict[str, str]:
    return {item.file: item.split for item in reading.recordings}


# --- labels in names


def mridangam(root: Path) -> Path:
    number = 224030
    for tonic in TONICS:
        for stroke in STROKES:
            for take in range(1, 6):
                folder = root / "mridangam_stroke_1.5" / tonic.capitalize()
                ending = "WAV" if number == 224031 else "wav"
                sound(folder / f"{number}__akshaylaya__{stroke}-{tonic}-{take:03d}.{ending}", rate=44100)
                number += 1
    (root / "mridangam_stroke_1.5" / "README.txt").write_text("strokes")
    sound(root / "mridangam_stroke_1.5" / "B" / "._224030__akshaylaya__bheem-b-001.wav")
    return root


def test_mridangam_by_stroke_and_by_tonic(tmp_path: Path) -> None:
    mridangam(tmp_path)
    strokes, tonics = reads("mridangam_stroke", tmp_path), reads("mridangam_tonic", tmp_path / "mridangam_stroke_1.5")
    assert Counter(item.label for item in strokes.recordings) == dict.fromkeys(STROKES, 30)
    assert Counter(item.label for item in tonics.recordings) == dict.fromkeys(TONICS, 50)
    label = {item.file: item.label for item in strokes.recordings}
    assert label["224031__akshaylaya__bheem-b-002.wav"] == "bheem"
    assert Counter(splits(strokes).values()) == {f"fold{i:02d}": 60 for i in range(5)}
    assert splits(strokes) == redrawn(strokes)
    sound(tmp_path / "mridangam_stroke_1.5" / "B" / "tom-x-001.wav")
    refused("mridangam_stroke", tmp_path, "tom-x-001.wav: expected a name such as 224030__akshaylaya__bheem-b-001.wav")
    refused("mridangam_stroke", tmp_path / "mridangam_stroke_1.5" / "B", "the folder mridangam_stroke_1.5")


def beijing_opera(root: Path) -> Path:
    for instrument in ("bangu", "daluo", "naobo", "xiaoluo"):
        for take in range(6):
            name = f"{take}{len(instrument)}__dongjing-2__{instrument}-{take:02d}.wav"
            sound(root / "beijing_opera_percussion_instrument_1.0" / name, rate=44100)
    return root


def test_beijing_opera(tmp_path: Path) -> None:
    reading = reads("beijing_opera", beijing_opera(tmp_path))
    assert Counter(item.label for item in reading.recordings) == dict.fromkeys(
        ("bangu", "daluo", "naobo", "xiaoluo"), 6
    )
    assert splits(reading) == redrawn(reading)
    assert all(len({*labels.values()}) == 4 for labels in by_split(reading).values())
    refused("beijing_opera", tmp_path.parent / "nowhere", "no such folder")


def libricount(root: Path) -> Path:
    for speakers in range(11):
        for index in range(6):
            sound(root / "LibriCount10-0dB" / "test" / f"{speakers}_{index:06d}.wav")
            (root / "LibriCount10-0dB" / "test" / f"{speakers}_{index:06d}.json").write_text("{}")
    return root


def test_libricount_has_a_vocabulary_in_the_order_of_numbers(tmp_path: Path) -> None:
    report = prepare_corpus("libricount", libricount(tmp_path / "raw"), tmp_path / "out", subset=True)
    assert report.task.vocabulary == [str(number) for number in range(11)]
    assert (report.subset, report.path.name) == ("66 of 5,720 recordings", "libricount-v1.0.0-hear2021-full_subset")
    (tmp_path / "raw" / "LibriCount10-0dB" / "test").rename(tmp_path / "raw" / "LibriCount10-0dB" / "train")
    refused("libricount", tmp_path / "raw", "expected the folder test.*found LibriCount10-0dB")


# --- VoxLingua107, Vocal Imitation Set


def vox_lingua(root: Path) -> Path:
    for index, language in enumerate(("en", "et", "ceb", "de", "es", "fr", "ru", "sv", "tr", "zh", "war", "ms")):
        for take in range(20 - index):
            sound(root / "dev" / language / f"{language}_{take:02d}__U__S{take}--0.001-{take}.001.wav")
    sound(root / "dev" / "en" / ".hidden.wav")
    return root


def test_vox_lingua_keeps_the_ten_most_frequent_languages(tmp_path: Path) -> None:
    for source in (vox_lingua(tmp_path), tmp_path / "dev"):
        reading = reads("vox_lingua_top10", source)
        assert Counter(item.label for item in reading.recordings)["en"] == 20
        assert {item.label for item in reading.recordings} == {
            "en", "et", "ceb", "de", "es", "fr", "ru", "sv", "tr", "zh",
        }  # fmt: skip
        assert splits(reading) == redrawn(reading)
    sound(tmp_path / "dev" / "war" / "one_more.wav")
    refused("vox_lingua_top10", tmp_path, "war and zh have 11 recordings each.*not determined")
    refused("vox_lingua_top10", tmp_path / "dev" / "en", "a folder of each language")


def vocal_imitation(root: Path) -> Path:
    corpus = root / "VocalImitationSet"
    rows = ["imitation_filename\tparticipantID\treference_filename\tincluded"]
    for number in range(302):
        reference = f"{number:03d}Animal_Domestic animals, pets_{number}.wav"
        for take in range(3):
            name = f"{number:03d}_{take} a.wav"
            folder = "included" if take < 2 else "excluded"
            rows.append(f"{name}\tp{take}\t{reference}\t{int(take < 2)}")
            path = corpus / "vocal_imitations" / folder / f"{number:03d}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    rows.append("gone.wav\tp\t000Animal.wav\t1")
    (corpus / "vocal_imitations.txt").write_text("\n".join(rows))
    return root


def test_vocal_imitation_takes_what_its_authors_included(tmp_path: Path) -> None:
    reading = reads("vocal_imitation", vocal_imitation(tmp_path))
    assert len(reading.recordings) == 604
    label = {item.file: item.label for item in reading.recordings}
    assert label["007_1 a.wav"] == "007Animal_Domestic animals, pets_7.wav"
    assert reading.missing == ["gone.wav"]  # told, since the corpus is not whole
    assert splits(reading) == redrawn(reading)
    extra = tmp_path / "VocalImitationSet" / "vocal_imitations" / "included" / "new.wav"
    extra.touch()
    refused("vocal_imitation", tmp_path, "new.wav: no row of vocal_imitations.txt includes it")
    (tmp_path / "VocalImitationSet" / "vocal_imitations.txt").write_text("imitation_filename\tincluded\n")
    refused("vocal_imitation", tmp_path, "'reference_filename' is missing")


# --- FSD50K


def fsd50k(root: Path) -> Path:
    truth = root / "FSD50K.ground_truth"
    truth.mkdir(parents=True)
    dev, held = ["fname,labels,mids,split"], ["fname,labels,mids"]
    too_long = sorted(TOO_LONG)[0]
    for number, split in ((64760, "train"), (16399, "val"), (too_long, "train"), (777, "train")):
        dev.append(f'{number},"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h",{split}')
    for number in (37199, 175151):
        held.append(f'{number},"Rain","/m/06mb1"')
    for number in (64760, 16399, too_long):
        sound(root / "FSD50K.dev_audio" / f"{number}.wav", 0.3, 44100)
    sound(root / "FSD50K.eval_audio" / "37199.wav", 0.4, 44100)
    sound(root / "FSD50K.eval_audio" / "175151.WAV", 0.5, 44100)
    (truth / "dev.csv").write_text("\r\n".join([*dev, dev[1]]))  # a row twice
    (truth / "eval.csv").write_text("\r\n".join(held))
    return root


def test_fsd50k_with_all_its_labels(tmp_path: Path) -> None:
    reading = reads("fsd50k", fsd50k(tmp_path / "raw"))
    assert {item.file: (item.split, item.labels) for item in reading.recordings} == {
        "64760.wav": ("train", ("Electric_guitar", "Guitar", "Music")),
        "16399.wav": ("valid", ("Electric_guitar", "Guitar", "Music")),
        "37199.wav": ("test", ("Rain",)),
        "175151.wav": ("test", ("Rain",)),
    }
    assert reading.missing == ["FSD50K.dev_audio/777.wav"]
    report = prepare_corpus("fsd50k", tmp_path / "raw", tmp_path / "out", subset=True)
    assert report.task.labels("valid") == {"16399.wav": ["Electric_guitar", "Guitar", "Music"]}
    assert report.clips_by_label == {"Electric_guitar": 2, "Guitar": 2, "Music": 2, "Rain": 2}
    assert soundfile.info(report.task.audio_file("test", "175151.wav", 16000)).frames == 8000  # its own length
    table = tmp_path / "raw" / "FSD50K.ground_truth" / "dev.csv"
    table.write_text('fname,labels,mids,split\n1,"Rain","/m",dev\n')
    refused("fsd50k", tmp_path / "raw", "expected labels and the split train or val")
    table.unlink()
    refused("fsd50k", tmp_path / "raw", "FSD50K.ground_truth/dev.csv")


# --- Beehive


def beehive(root: Path) -> Path:
    for archive, state in (
        ("Hive1_12_06_2018", "QueenBee"), ("Hive1_31_05_2018", "NO_QueenBee"),
        ("Hive3_14_07_2017", "NO_QueenBee"), ("Hive3_28_07_2017", "QueenBee"),
    ):  # fmt: skip
        for index in range(9):
            sound(root / archive / f"{archive}_{state}_audio___{index:02d}_00_00.wav", rate=22050)
    return root


def test_beehive_trains_on_one_hive_and_tests_on_the_other(tmp_path: Path) -> None:
    beehive(tmp_path)
    for task, tested in (("beehive_states_fold0", "Hive3"), ("beehive_states_fold1", "Hive1")):
        reading = reads(task, tmp_path)
        found = by_split(reading)
        assert {file[:5] for file in found["test"]} == {tested}
        assert {split: len(files) for split, files in found.items()} == {"train": 16, "valid": 2, "test": 18}
        assert {file: "NOQUEEN" if "NO" in file else "QUEEN" for file in found["test"]} == found["test"]
        bare = [dataclasses.replace(r, split="test" if r.split == "test" else "train") for r in reading.recordings]
        assert splits(reading) == {item.file: item.split for item in train_valid_test(bare, {"valid": 10 / 0.9})}
    sound(tmp_path / "other" / "bee.wav")
    refused("beehive_states_fold0", tmp_path, "other/bee.wav: expected it in the folder of its archive")
    refused("beehive_states_fold0", tmp_path / "other" / "none", "no such folder")


# --- Gunshot triangulation


def gunshot(root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """22 shots of two samples, 0.6 s apart, in recordings that begin at different times."""
    begin = {name: 48000 + 1000 * number for number, name in enumerate(shots.RECORDINGS)}
    monkeypatch.setattr(shots, "RECORDINGS", begin)
    root.mkdir(parents=True)
    for number, (name, start) in enumerate(begin.items()):
        samples = np.full(start + 48000 * 15, 0.001 * (number + 1))
        samples[: start - 48000] = 0.99  # before the alignment: not looked at
        for shot in range(22):
            at = start - 48000 + 20000 + 28800 * shot
            samples[at : at + 2] = -0.9
            samples[at + 24000] = 0.95  # an echo, too soon for a shot
        soundfile.write(root / name, samples, 48000, "PCM_16")
    return root


def test_gunshots_are_found_and_cut_from_all_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = gunshot(tmp_path / "raw", monkeypatch)
    reading = reads("gunshot_triangulation", raw)
    assert len(reading.recordings) == 88
    assert crossing_groups(reading.recordings) == []
    firearms = {item.file.split("_")[1]: item.group for item in reading.recordings}
    assert [firearms[f"shot{n}"] for n in (0, 3, 4, 6, 7, 21)] == ["fid1", "fid1", "fid2", "fid2", "fid3", "fid7"]
    sizes = Counter(item.split for item in reading.recordings)
    assert sorted(sizes.values()) == [12] * 6 + [16]
    report = prepare_corpus("gunshot_triangulation", raw, tmp_path / "out", sample_rate=48000)
    assert report.subset is None
    split = next(item.split for item in reading.recordings if item.file == "mic3_shot1_fid1.wav")
    clip, _ = soundfile.read(report.task.audio_file(split, "mic3_shot1_fid1.wav", 48000))
    assert len(clip) == 72000
    assert np.flatnonzero(clip < -0.8)[:2].tolist() == [6000, 6001]  # an eighth of a second before the shot
    (raw / "mic4raw.wav").unlink()
    assert reads("gunshot_triangulation", raw).missing == ["mic4raw.wav"]
    soundfile.write(raw / "mic1raw.wav", np.zeros(480000), 48000)
    refused("gunshot_triangulation", raw, "expected 22 shots of 0.8 of full scale or more; found 0")
    (raw / "mic1raw.wav").unlink()
    refused("gunshot_triangulation", raw, "mic1raw.wav, mic2raw16b.wav, mic3raw.wav, mic4raw.wav")


def test_shots_are_those_that_the_kit_finds() -> None:
    def kit(samples: np.ndarray) -> list[int]:  # hear-preprocess's rule, sample by sample
        inside, starts = False, []
        for index, sample in enumerate(samples):
            if not inside and abs(sample) >= 0.8 and len(starts) < 22:
                starts.append(index)
                inside = True
            if inside and index - starts[-1] > 25000:
                inside = False
        return starts

    generator = np.random.default_rng(0)
    samples = np.zeros(200_000)
    samples[generator.integers(0, len(samples), 40)] = -0.9
    samples[[1000, 26000, 26001, 26002, 51003, 51004, 51005]] = 0.8
    assert shots.shot_starts(samples) == kit(samples)


# --- DCASE 2016 task 2


def dcase(root: Path) -> Path:
    parts = {"dcase2016_task2_train_dev/dcase2016_task2_dev": 3, "dcase2016_task2_test_public": 7}
    for part, n in parts.items():
        for index in range(n):
            name = f"{Path(part).name[-3:]}_1_ebr_6_nec_{index}_poly_0"
            sound(root / part / "sound" / f"{name}.wav", 1.0, 44100)
            (root / part / "annotation").mkdir(parents=True, exist_ok=True)
            (root / part / "annotation" / f"{name}.txt").write_text(
                "0.25\t0.5\tdrawer\r\n0.4\t0.75\tkeyboard\r\n119.5\t120.5\tdrawer\r\n120.0\t121.0\tcough\r\n"
            )
    (root / "dcase2016_task2_test_public" / "annotation" / "._lic_1.txt").write_bytes(b"\0")
    return root


def test_dcase_events_and_the_benchmarks_own_division(tmp_path: Path) -> None:
    reading = reads("dcase2016_task2", dcase(tmp_path / "raw"))
    assert Counter(item.split for item in reading.recordings) == {"train": 6, "valid": 2, "test": 2}
    bare = [dataclasses.replace(item, split="train") for item in reading.recordings]
    assert splits(reading) == {r.file: r.split for r in train_valid_test(bare, {"valid": 20, "test": 20})}
    report = prepare_corpus("dcase2016_task2", tmp_path / "raw", tmp_path / "out", subset=True, sample_rate=4000)
    [file, *_] = report.task.labels("test")
    assert report.task.labels("test")[file] == [
        {"label": "drawer", "start": 250.0, "end": 500.0},
        {"label": "keyboard", "start": 400.0, "end": 750.0},
        {"label": "drawer", "start": 119500.0, "end": 120000.0},  # cut at the clip's end; what begins there is left out
    ]
    assert report.subset == "10 of 72 recordings"
    part = tmp_path / "raw" / "dcase2016_task2_test_public"
    (part / "sound" / "lic_1_ebr_6_nec_0_poly_0.wav").unlink()
    assert reads("dcase2016_task2", tmp_path / "raw").missing == [
        "dcase2016_task2_test_public/sound/lic_1_ebr_6_nec_0_poly_0.wav"
    ]
    (part / "annotation" / "lic_1_ebr_6_nec_1_poly_0.txt").write_text("0.25 0.5 drawer\n")
    refused("dcase2016_task2", tmp_path / "raw", "line 1: expected start, end and label with tabs between")
    refused("dcase2016_task2", part / "sound", "folders with annotation")


# --- draws from NSynth and Speech Commands


def nsynth(root: Path, n: int = 30) -> Path:
    for part in ("train", "valid", "test"):
        examples = {}
        for index in range(n):
            note = f"guitar_{part}_{index // 10:03d}-{10 + 5 * index:03d}-050"
            examples[note] = {"pitch": 10 + 5 * index, "instrument_str": "x", "instrument_family_str": "guitar"}
            if (part, index) != ("train", 2):  # pitch 20: never drawn, so it need not be there
                sound(root / f"nsynth-{part}" / "audio" / f"{note}.wav")
        (root / f"nsynth-{part}" / "examples.json").write_text(json.dumps(examples))
    return root


def smaller(task: str, whole: int, clips: int, classes: int, limits: dict[str, int]) -> TaskSpec:
    """The task as if its corpus were the miniature."""
    spec = find_task(task)
    assert spec.corpus is not None
    corpus = spec.corpus.model_copy(update={"recordings": whole, "options": {**spec.corpus.options, "at_most": limits}})
    variant = spec.variants[spec.mode].model_copy(update={"counts": limits})
    return spec.model_copy(
        update={"clips": clips, "classes": classes, "corpus": corpus, "variants": {spec.mode: variant}}
    )


def test_nsynth_pitch_draws_notes_within_the_range(tmp_path: Path) -> None:
    nsynth(tmp_path / "raw")
    spec = smaller("nsynth_pitch-5h", 90, 10, 10, {"train": 6, "valid": 2, "test": 2})
    reading = read_corpus(spec, tmp_path / "raw")
    assert (len(reading.recordings), reading.missing, reading.drawn_from) == (10, [], 90)
    assert {int(item.label) for item in reading.recordings} <= set(range(21, 109))
    assert all(item.label == str(int(item.file.split("-")[1])) for item in reading.recordings)
    smaller_spec = spec.model_copy(update={"classes": len({item.label for item in reading.recordings})})
    assert check_whole(smaller_spec, reading, tmp_path, subset=False) is None
    lost = next(item for item in reading.recordings if item.split == "valid")
    lost.path.unlink()
    with pytest.raises(DeloresError, match=r"valid 1 of 2.*1 listed file\(s\) missing: nsynth-valid/audio"):
        check_whole(smaller_spec, read_corpus(spec, tmp_path / "raw"), tmp_path, subset=False)
    (tmp_path / "raw" / "nsynth-test" / "examples.json").write_text('{"a-001-002": {"pitch": "high"}}')
    refused("nsynth_pitch-5h", tmp_path / "raw", "a-001-002: expected a pitch")


def test_five_hours_of_speech_commands_are_drawn_from_the_whole(shared_data: Path) -> None:
    source = shared_data / "corpora" / "speech_commands_v0.02-small"
    whole, drawn = reads("speech_commands-full", source), reads("speech_commands-5h", source)
    assert drawn.drawn_from == 56 + 11 + 96  # silence is drawn too, but is no recording of the corpus
    assert splits(drawn) == splits(whole)  # no more than the limits are there
    few = smaller("speech_commands-5h", 163, 20, 12, {"train": 10, "valid": 10})
    assert Counter(item.split for item in read_corpus(few, source).recordings) == {"train": 10, "valid": 10, "test": 96}
    with pytest.raises(DeloresError, match="163 of 99,714 recordings"):
        check_whole(find_task("speech_commands-5h"), drawn, source, subset=False)


# --- all of them, through to the task folder


MINIATURES: dict[str, Callable[[Path], Path]] = {
    "mridangam_stroke": mridangam,
    "mridangam_tonic": mridangam,
    "beijing_opera": beijing_opera,
    "libricount": libricount,
    "vox_lingua_top10": vox_lingua,
    "fsd50k": fsd50k,
    "beehive_states_fold0": beehive,
    "beehive_states_fold1": beehive,
    "nsynth_pitch-5h": nsynth,
    "nsynth_pitch-50h": nsynth,
}


@pytest.mark.parametrize("task", MINIATURES)
def test_a_miniature_becomes_a_task_folder_that_says_it_is_a_subset(tmp_path: Path, task: str) -> None:
    spec = find_task(task)
    raw = MINIATURES[task](tmp_path / "raw")
    with pytest.raises(DeloresError, match=r"not the whole corpus.*or ask for a subset"):
        prepare_corpus(task, raw, tmp_path / "out")
    short = spec.model_copy(update={"sample_duration_s": min(1.0, spec.sample_duration_s or 1.0)})
    report = prepare_corpus(short, raw, tmp_path / "out", subset=True, sample_rate=2000)
    assert report.path.name == f"{spec.folder_name}_subset"
    assert report.task.splits == spec.splits
    reading = read_corpus(spec, raw)
    for split in spec.splits:
        expected = {item.file: list(item.label_names) for item in reading.recordings if item.split == split}
        assert report.task.labels(split) == expected
    assert report.task.metadata["subset"] == report.subset
