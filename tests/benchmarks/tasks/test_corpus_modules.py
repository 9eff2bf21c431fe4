"""Each corpus module on a miniature laid out as its authors distribute the corpus, odd cases included."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from miniatures import by_split, reads, refused, sound

from benchmarks.tasks.corpora import prepare_corpus
from benchmarks.tasks.corpora.raw_corpus import check_whole, read_corpus
from benchmarks.tasks.corpora.recordings import Reading, crossing_groups
from benchmarks.tasks.registry import find_task
from hear_delores.errors import DeloresError

# --- Speech Commands


def speech_commands(root: Path) -> Path:
    corpus = root / "speech_commands_v0.02"
    for name in ("yes/0a7c2a8d_nohash_0.wav", "yes/0a7c2a8d_nohash_1.wav", "cat/1b4c9b89_nohash_0.wav"):
        sound(corpus / name)
    sound(corpus / "no" / "2d82a556_nohash_0.WAV")  # the list below says .wav
    sound(corpus / "backward" / "3f170018_nohash_0.wav")
    sound(corpus / "_background_noise_" / "running_tap.wav", 2.2)
    sound(corpus / "_background_noise_" / "exercise_bike.wav", 1.6)
    sound(corpus / "_background_noise_" / "pink_noise.wav", 2.0)
    sound(corpus / "yes" / "._0a7c2a8d_nohash_0.wav")  # what macOS leaves
    (corpus / "_background_noise_" / "README.md").write_text("noise")
    (corpus / "validation_list.txt").write_text("no/2d82a556_nohash_0.wav\nno/99999999_nohash_0.wav\n")
    (corpus / "testing_list.txt").write_text("backward/3f170018_nohash_0.wav\r\n\r\n")
    archive = root / "speech_commands_test_set_v0.02"
    for name in ("_silence_/167.wav", "_unknown_/four_b49caed3_nohash_0.wav.wav", "yes/5e3dde6b_nohash_2.wav"):
        sound(archive / name)
    return corpus


def test_speech_commands_twelve_classes(tmp_path: Path) -> None:
    corpus = speech_commands(tmp_path)
    reading = reads("speech_commands_v2_12", corpus)
    assert by_split(reading) == {
        "train": {
            "yes_0a7c2a8d_nohash_0.wav": "yes",
            "yes_0a7c2a8d_nohash_1.wav": "yes",
            "cat_1b4c9b89_nohash_0.wav": "_unknown_",
            "_silence__pink_noise-0.wav": "_silence_",
            "_silence__pink_noise-8000.wav": "_silence_",
        },
        "valid": {
            "no_2d82a556_nohash_0.wav": "no",
            "_silence__running_tap-0.wav": "_silence_",
            "_silence__running_tap-8000.wav": "_silence_",
            "_silence__running_tap-16000.wav": "_silence_",
        },
        "test": {
            "backward_3f170018_nohash_0.wav": "_unknown_",
            "_silence__exercise_bike-0.wav": "_silence_",
            "_silence__exercise_bike-8000.wav": "_silence_",
        },
    }
    assert reading.missing[0] == "validation_list.txt: no/99999999_nohash_0.wav"
    assert "_background_noise_/doing_the_dishes.wav" in reading.missing
    assert crossing_groups(reading.recordings) == []
    # A source one level higher, and the other task of the corpus.
    assert by_split(reads("speech_commands_v2_35", tmp_path))["train"]["cat_1b4c9b89_nohash_0.wav"] == "cat"
    assert not any(item.label == "_silence_" for item in reads("speech_commands_v2_35", tmp_path).recordings)


def test_silence_is_a_slice_of_the_noise(tmp_path: Path) -> None:
    corpus = speech_commands(tmp_path / "raw")
    report = prepare_corpus("speech_commands_v2_12", corpus, tmp_path / "out", subset=True)
    noise, _ = soundfile.read(corpus / "_background_noise_" / "running_tap.wav", dtype="int16")
    written, _ = soundfile.read(report.task.audio_file("valid", "_silence__running_tap-8000.wav", 16000), dtype="int16")
    length = round(0.98 * 16000)
    assert len(written) == length
    np.testing.assert_array_equal(written, noise[8000 : 8000 + length])


def test_a_bad_noise_stops_or_is_listed(tmp_path: Path) -> None:
    corpus = speech_commands(tmp_path / "raw")
    noise = corpus / "_background_noise_" / "pink_noise.wav"
    noise.write_bytes(noise.read_bytes()[:1000])
    with pytest.raises(DeloresError, match=r"pink_noise.wav: cut short.*--skip-bad"):
        prepare_corpus("speech_commands_v2_12", corpus, tmp_path / "out", subset=True)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    report = prepare_corpus("speech_commands_v2_12", corpus, tmp_path / "out", subset=True, skip_bad=True)
    assert len(report.skipped) == 1
    assert report.skipped[0].startswith(f"{noise}: cut short")
    assert not [file for file in report.task.labels("train") if "pink_noise" in file]
    assert "_silence__running_tap-0.wav" in report.task.labels("valid")


def test_speech_commands_published_split_trains_on_the_validation_list(tmp_path: Path) -> None:
    corpus = speech_commands(tmp_path)
    for speaker in range(20):
        for index in range(2):
            sound(corpus / "yes" / f"{speaker:08x}_nohash_{index}.wav")
    reading = reads("speech_commands_v2_12", corpus, "published")
    found = by_split(reading)
    assert set(found["test"]) == {"backward_3f170018_nohash_0.wav"}
    assert all("silence" not in file for split in ("valid", "test") for file in found[split])
    assert {*found["train"], *found["valid"]} >= {"no_2d82a556_nohash_0.wav", "yes_0a7c2a8d_nohash_0.wav"}
    assert len(found["valid"]) == 4  # two speakers of two clips: a tenth of 42, to the nearest
    assert crossing_groups(reading.recordings) == []


@pytest.mark.parametrize("name", ["speech_commands_v2_12-test_archive", "speech_commands-full"])
def test_speech_commands_with_the_separate_test_set(tmp_path: Path, name: str) -> None:
    corpus = speech_commands(tmp_path)
    for source in (corpus, tmp_path):
        found = by_split(reads(name, source))
        assert found["test"] == {
            "_silence__167.wav": "_silence_",
            "_unknown__four_b49caed3_nohash_0.wav.wav": "_unknown_",
            "yes_5e3dde6b_nohash_2.wav": "yes",
        }
        assert "backward_3f170018_nohash_0.wav" not in {**found["train"], **found["valid"]}
        assert "_silence__exercise_bike-0.wav" in found["train"]
    (tmp_path / "speech_commands_test_set_v0.02").rename(tmp_path.parent / f"{tmp_path.name}-elsewhere")
    refused(name, corpus, "separate test set once.*found none")


def test_the_small_speech_commands_goes_through_the_module(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "corpora" / "speech_commands_v0.02-small"
    with pytest.raises(DeloresError, match="train 56 of 84,843; valid 11 of 9,981; test 10 of 11,005"):
        prepare_corpus("speech_commands_v2_35", source, tmp_path)
    listed = (tmp_path / "speech_commands_v2_35-v0.02-honest.missing.txt").read_text().splitlines()
    assert len(listed) == 9981 + 11005 - 11 - 10  # the lists are whole, the audio is not
    report = prepare_corpus("speech_commands_v2_12", source, tmp_path, subset=True)
    assert report.clips_by_split == {"train": 56, "valid": 11 + 121, "test": 10}
    assert report.task.folder_name == "speech_commands_v2_12-v0.02-honest_subset"
    assert report.task.metadata["subset"] == "77 of 105,829 recordings"
    hear = prepare_corpus("speech_commands-full", source, tmp_path, subset=True)
    assert hear.clips_by_split == {"train": 56, "valid": 132, "test": 96}


def test_speech_commands_elsewhere(tmp_path: Path) -> None:
    refused("speech_commands_v1_12", tmp_path, "validation_list.txt and testing_list.txt.*found an empty folder")
    refused("speech_commands_v1_12", tmp_path / "gone", "no such folder")


# --- LibriSpeech, VoxCeleb1


def librispeech(root: Path) -> Path:
    for speaker, chapters in {"103": ("1240", "1241"), "1034": ("121119",)}.items():
        for chapter in chapters:
            folder = root / "LibriSpeech" / "train-clean-100" / speaker / chapter
            names = [f"{speaker}-{chapter}-{index:04d}" for index in range(10)]
            for name in names:
                sound(folder / f"{name}.flac")
            (folder / f"{speaker}-{chapter}.trans.txt").write_text("\n".join(f"{n} CHAPTER ONE" for n in names))
    (root / "LibriSpeech" / "SPEAKERS.TXT").write_text(";ID |SEX\n")
    sound(root / "LibriSpeech" / "dev-clean" / "84" / "121123" / "84-121123-0000.flac")
    return root


def test_librispeech_by_speaker_and_by_chapter(tmp_path: Path) -> None:
    librispeech(tmp_path)
    found = by_split(reads("librispeech100_speaker", tmp_path))
    assert {split: Counter(labels.values()) for split, labels in found.items()} == {
        "train": {"103": 16, "1034": 8},
        "valid": {"103": 2, "1034": 1},
        "test": {"103": 2, "1034": 1},
    }
    published = by_split(reads("librispeech100_speaker", tmp_path / "LibriSpeech" / "train-clean-100", "published"))
    assert set(published["test"].values()) == {"103-1240", "103-1241", "1034-121119"}
    assert len(published["test"]) == 6
    (tmp_path / "LibriSpeech" / "train-clean-100" / "103" / "1240" / "103-1240-0003.flac").unlink()
    assert reads("librispeech100_speaker", tmp_path).missing == ["103/1240/103-1240-0003.flac"]
    refused("librispeech100_speaker", tmp_path / "LibriSpeech" / "dev-clean", "train-clean-100")


def voxceleb1(root: Path) -> Path:
    names = ["id10001/1zcIwhmdeo4/00001.wav", "id10001/-abc_DEF123/00002.wav", "id10270/5r0dWxy17C8/00001.wav"]
    for name, place in zip(names, ("dev", "dev", "test"), strict=True):
        sound(root / f"vox1_{place}" / "wav" / name)
    lines = [f"1 {names[0]}", f"2 {names[1]}", f"3 {names[2]}", f"3 {names[2]}", "1 id10002/xxxxxxxxxxx/00009.wav"]
    (root / "iden_split.txt").write_text("\n".join(lines))
    return root


def test_voxceleb1_by_the_identification_split(tmp_path: Path) -> None:
    voxceleb1(tmp_path)
    reading = reads("voxceleb1_speaker", tmp_path)
    assert by_split(reading) == {
        "train": {"id10001_1zcIwhmdeo4_00001.wav": "id10001"},
        "valid": {"id10001_-abc_DEF123_00002.wav": "id10001"},
        "test": {"id10270_5r0dWxy17C8_00001.wav": "id10270"},
    }
    assert reading.missing == ["id10002/xxxxxxxxxxx/00009.wav"]
    (tmp_path / "iden_split.txt").write_text("4 id10001/1zcIwhmdeo4/00001.wav\n")
    refused("voxceleb1_speaker", tmp_path, "line 1: expected 1, 2 or 3")
    (tmp_path / "iden_split.txt").unlink()
    refused("voxceleb1_speaker", tmp_path, "iden_split.txt")


# --- IEMOCAP, VoxForge


def iemocap(root: Path) -> Path:
    corpus = root / "IEMOCAP_full_release"
    for session in range(1, 6):
        dialogue = f"Ses0{session}F_impro01"
        lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", ""]
        for index, emotion in enumerate(("neu", "ang", "sad", "hap", "exc", "xxx", "fru")):
            name = f"{dialogue}_{'FM'[index % 2]}{index:03d}"
            lines += [f"[{index}.2901 - {index}.9357]\t{name}\t{emotion}\t[2.5000, 2.5000, 2.5000]"]
            lines += ["C-E2:\tNeutral;\t()", ""]
            sound(corpus / f"Session{session}" / "sentences" / "wav" / dialogue / f"{name}.wav")
        folder = corpus / f"Session{session}" / "dialog" / "EmoEvaluation"
        (folder / "Categorical").mkdir(parents=True)
        (folder / f"{dialogue}.txt").write_bytes("\n".join(lines).encode() + b"\nC-F1:\tOther (\xe9)\n")
        (folder / f"._{dialogue}.txt").write_bytes(b"\x00\x05\x16\x07")
        (folder / "Categorical" / f"{dialogue}_e2_cat.txt").write_text(f"{dialogue}_F000 :Neutral state; ()\n")
    return corpus


def test_iemocap_by_session(tmp_path: Path) -> None:
    corpus = iemocap(tmp_path)
    reading = reads("iemocap_emotion", tmp_path)
    assert {split: sorted(labels.values()) for split, labels in by_split(reading).items()} == {
        f"fold{index:02d}": ["ang", "hap", "neu", "sad"] for index in range(5)
    }
    assert crossing_groups(reading.recordings) == []
    published = reads("iemocap_emotion", corpus, "published")
    assert {file[:5] for file in by_split(published)["test"]} == {"Ses05"}
    assert len(by_split(published)["train"]) + len(by_split(published)["valid"]) == 16
    (corpus / "Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F000.wav").unlink()
    assert reads("iemocap_emotion", corpus).missing == ["Session2/sentences/wav/Ses02F_impro01/Ses02F_impro01_F000.wav"]
    refused("iemocap_emotion", corpus / "Session1", "Session1 to Session5")


def voxforge(root: Path) -> Path:
    for code in ("SpeechCorpus", "de", "es", "French", "it", "ru"):
        for user in [f"user{index}" for index in range(12)] + ["anonymous", "Ralf Herzog"]:
            for date in ("20080318-abc", "20090101-xyz"):
                kind = "flac" if user == "user3" else "wav"
                for index in range(2):
                    sound(root / code / "Trunk" / f"{user}-{date}" / kind / f"{code}{index}.{kind}")
        sound(root / code / "Trunk" / "both-20080101-aaa" / "wav" / "a0001.WAV")
        sound(root / code / "Trunk" / "both-20080101-aaa" / "flac" / "a0001.flac")
        (root / code / "Trunk" / "user0-20080318-abc" / "etc").mkdir()
    return root


def test_voxforge_speakers_never_cross(tmp_path: Path) -> None:
    voxforge(tmp_path)
    (tmp_path / "de" / "late-20100101-zzz.tgz").write_bytes(b"")
    (tmp_path / "de" / "Trunk" / "user0-20080318-abc.tgz").write_bytes(b"")  # unpacked beside: not missing
    reading = reads("voxforge_language", tmp_path)
    assert len(reading.recordings) == 6 * (14 * 4 + 1)
    assert crossing_groups(reading.recordings) == []
    assert {item.label for item in reading.recordings} == {"en", "de", "es", "fr", "it", "ru"}
    assert {item.group for item in reading.recordings} >= {"ralf herzog", "anonymous-20080318-abc", "user3"}
    assert "en_Ralf_Herzog-20080318-abc_SpeechCorpus0.wav" in {item.file for item in reading.recordings}
    assert reading.missing == ["de/late-20100101-zzz.tgz (packed)"]
    assert len(by_split(reads("voxforge_language", tmp_path, "published"))["test"]) == 6 * round(0.2 * 57)
    refused("voxforge_language", tmp_path / "de", "a folder of each language")


# --- UrbanSound8K, ESC-50, NSynth


def urbansound8k(root: Path) -> Path:
    corpus = root / "UrbanSound8K"
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in range(1, 11):
        name = f"{100 + fold}-3-0-{fold}.wav"
        sound(corpus / "audio" / f"fold{fold}" / name, rate=44100, channels=2)
        lines.append(f"{name},{100 + fold},0,0.5,1,{fold},3,dog_bark")
    lines += [lines[1], "999-2-0-0.wav,999,0,4,1,4,2,children_playing"]  # a row twice, and a file that is not there
    (corpus / "metadata").mkdir()
    (corpus / "metadata" / "UrbanSound8K.csv").write_text("\r\n".join(lines))
    (corpus / "audio" / "fold1" / ".DS_Store").write_bytes(b"")
    return corpus


def test_urbansound8k_in_its_ten_folds(tmp_path: Path) -> None:
    corpus = urbansound8k(tmp_path)
    lines = (corpus / "metadata" / "UrbanSound8K.csv").read_text().splitlines()
    reading = reads("urbansound8k", tmp_path)
    assert by_split(reading) == {f"fold{i:02d}": {f"{101 + i}-3-0-{i + 1}.wav": "dog_bark"} for i in range(10)}
    assert reading.missing == ["audio/fold4/999-2-0-0.wav"]
    assert crossing_groups(reading.recordings) == []
    (corpus / "metadata" / "UrbanSound8K.csv").write_text("\n".join([*lines, lines[1].replace("dog_bark", "siren")]))
    refused("urbansound8k", tmp_path, "two rows of 101-3-0-1.wav differ")
    (corpus / "metadata" / "UrbanSound8K.csv").write_text(lines[0].replace("fold", "folder") + "\n")
    refused("urbansound8k", tmp_path, "column 'fold' is missing. Did you mean 'folder'")


def test_esc50_in_its_five_folds(tmp_path: Path) -> None:
    corpus = tmp_path / "ESC-50-master"
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, 6):
        for take in "AB":
            sound(corpus / "audio" / f"{fold}-10003{fold}-{take}-0.wav", rate=44100)
            lines.append(f"{fold}-10003{fold}-{take}-0.wav,{fold},0,dog,True,10003{fold},{take}")
    (corpus / "meta").mkdir()
    (corpus / "meta" / "esc50.csv").write_text("\n".join(lines))
    reading = reads("esc50", tmp_path)
    assert {split: len(files) for split, files in by_split(reading).items()} == {f"fold{i:02d}": 2 for i in range(5)}
    assert crossing_groups(reading.recordings) == []
    (corpus / "meta" / "esc50.csv").write_text("\n".join([*lines, "9-9-A-0.wav,6,0,dog,True,9,A"]))
    refused("esc50", tmp_path, "fold '6'; expected 1 to 5")


def nsynth(root: Path) -> Path:
    for part, instruments in {"train": range(8), "valid": (20,), "test": (20, 21)}.items():
        examples = {}
        for number in instruments:
            family = ("guitar", "synth_lead")[number % 2]
            for pitch in ("060-050", "061-127"):
                note = f"{family}_acoustic_{number:03d}-{pitch}" if part != "test" else f"{family}_x_{number}-{pitch}"
                examples[note] = {
                    "note_str": note,
                    "instrument_str": f"{family}_acoustic_{number:03d}",
                    "instrument_family": 3,
                    "instrument_family_str": family,
                    "pitch": int(pitch[:3]),
                }
                sound(root / f"nsynth-{part}" / "audio" / f"{note}.wav")
        (root / f"nsynth-{part}" / "examples.json").write_text(json.dumps(examples))
    return root


def test_nsynth_by_family(tmp_path: Path) -> None:
    reading = reads("nsynth_instrument", nsynth(tmp_path))
    assert {split: len(files) for split, files in by_split(reading).items()} == {"train": 16, "valid": 2, "test": 4}
    assert crossing_groups(reading.recordings) == ["guitar_acoustic_020"]  # valid and test share instruments
    assert set(by_split(reading)["test"].values()) == {"guitar", "synth_lead"}
    published = reads("nsynth_instrument", tmp_path, "published")
    assert set(by_split(published)["test"]) == set(by_split(reading)["valid"])
    assert len(published.recordings) == 18
    assert crossing_groups(published.recordings) == []
    (tmp_path / "nsynth-test" / "examples.json").unlink()
    refused("nsynth_instrument", tmp_path, "unpack the whole of nsynth-test.jsonwav.tar.gz")
    refused("nsynth_instrument", tmp_path / "nsynth-train" / "audio", "nsynth-train, nsynth-valid and nsynth-test")


# --- TUT Urban Acoustic Scenes 2018, Bird Audio Detection


def tut(root: Path) -> Path:
    corpus = root / "TUT-urban-acoustic-scenes-2018-development"
    meta, train, test = ["filename\tscene_label\tidentifier\tsource_label"], [], []
    for scene in ("airport", "metro_station"):
        for place in range(10):
            for index in range(3):
                file = f"audio/{scene}-barcelona-{place}-{index}-a.wav"
                sound(corpus / file, rate=48000, channels=2)
                place_name = f"{scene[0]}barcelona-{place}"
                meta.append(f"{file}\t{scene}\t{place_name}\ta")
                (test if place > 7 else train).append(f"{file}\t{scene}")
    (corpus / "meta.csv").write_text("\n".join(meta))
    (corpus / "evaluation_setup").mkdir()
    (corpus / "evaluation_setup" / "fold1_train.txt").write_text("\n".join(train))
    (corpus / "evaluation_setup" / "fold1_evaluate.txt").write_text("\n".join(test))
    (corpus / "evaluation_setup" / "fold1_test.txt").write_text("\n".join(line.split("\t")[0] for line in test))
    return corpus


def test_tut_validates_on_whole_places(tmp_path: Path) -> None:
    corpus = tut(tmp_path)
    reading = reads("tut_urban_scenes_2018", tmp_path)
    assert {s: Counter(labels.values()) for s, labels in by_split(reading).items()} == {
        "train": {"airport": 21, "metro_station": 21},
        "valid": {"airport": 3, "metro_station": 3},
        "test": {"airport": 6, "metro_station": 6},
    }
    assert crossing_groups(reading.recordings) == []
    published = by_split(reads("tut_urban_scenes_2018", corpus, "published"))
    assert published["test"] == by_split(reading)["test"]
    assert len(published["valid"]) == 4
    with open(corpus / "evaluation_setup" / "fold1_train.txt", "a") as stream:
        stream.write("\naudio/park-paris-9-9-a.wav\tpark\n")
    refused("tut_urban_scenes_2018", tmp_path, "park-paris-9-9-a.wav is not in meta.csv")


def birds(root: Path, *, beside: bool) -> Path:
    for folder, table, ids in (
        ("ff1010bird", "ff1010bird_metadata_2018.csv", [str(index) for index in range(20)]),
        ("warblrb10k", "warblrb10k_public_metadata_2018.csv", [f"759808e5-f824-401e-905{i}" for i in range(20)]),
    ):
        lines = ["itemid,datasetid,hasbird"] + [f"{name},{folder},{i % 2}" for i, name in enumerate(ids)]
        for name in ids:
            sound(root / folder / "wav" / f"{name}.wav", rate=44100)
        place = root if beside else root / folder
        (place / table).write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("beside", [True, False])
def test_birds_of_both_corpora(tmp_path: Path, beside: bool) -> None:
    found = by_split(reads("bird_song", birds(tmp_path, beside=beside)))
    assert {s: Counter(labels.values()) for s, labels in found.items()} == {
        "train": {"absent": 16, "present": 16},
        "valid": {"absent": 2, "present": 2},
        "test": {"absent": 2, "present": 2},
    }
    assert {file.split("_")[0] for file in found["test"]} == {"freefield1010", "warblr"}
    against = by_split(reads("bird_song", tmp_path, "warblr_test"))
    assert {file.split("_")[0] for file in against["test"]} == {"warblr"}
    assert {file.split("_")[0] for file in {**against["train"], **against["valid"]}} == {"freefield1010"}
    assert len(against["test"]) == 20
    other = by_split(reads("bird_song", tmp_path, "freefield1010_test"))
    assert {file.split("_")[0] for file in other["test"]} == {"freefield1010"}
    assert len(by_split(reads("bird_song", tmp_path, "published"))["test"]) == 8
    (tmp_path / "warblrb10k" / "wav" / "759808e5-f824-401e-9053.wav").unlink()
    assert reads("bird_song", tmp_path).missing == ["warblr/759808e5-f824-401e-9053.wav"]


def test_birds_whose_folders_cannot_be_told_apart(tmp_path: Path) -> None:
    birds(tmp_path, beside=True)
    (tmp_path / "ff1010bird" / "wav").rename(tmp_path / "wav")
    refused("bird_song", tmp_path, "audio of freefield1010 as ff1010bird/wav")


# --- all of them, through to the task folder; and with the counts of the real corpus


MINIATURES = {
    "speech_commands_v1_12": speech_commands,
    "speech_commands_v2_12": speech_commands,
    "speech_commands_v2_35": speech_commands,
    "librispeech100_speaker": librispeech,
    "voxceleb1_speaker": voxceleb1,
    "iemocap_emotion": iemocap,
    "nsynth_instrument": nsynth,
    "urbansound8k": urbansound8k,
    "tut_urban_scenes_2018": tut,
    "voxforge_language": voxforge,
    "bird_song": lambda root: birds(root, beside=False),
}


@pytest.mark.parametrize("task", MINIATURES)
def test_a_miniature_becomes_a_task_folder_in_every_split(tmp_path: Path, task: str) -> None:
    raw = MINIATURES[task](tmp_path / "raw")
    if task.startswith("speech"):
        for speaker in range(20):
            sound(raw / "yes" / f"{speaker:08x}_nohash_0.wav")
    for name, variant in find_task(task).variants.items():
        if not variant.available:
            continue
        report = prepare_corpus(task, raw, tmp_path / "out", split=name, subset=True, sample_rate=4000)
        spec = find_task(task).for_split(name)
        assert report.path.name == f"{spec.folder_name}_subset"
        assert report.task.splits == spec.splits
        reading = read_corpus(spec, raw)
        assert report.clips == len(reading.recordings)
        for split in spec.splits:
            labels = {file: [label] for file, label in by_split(reading)[split].items()}
            assert report.task.labels(split) == labels
        assert report.task.metadata["split_name"] == name
        assert report.task.metadata["subset"].startswith(f"{sum(r.slice_s is None for r in reading.recordings):,} of ")


def facts(reading: Reading) -> list[tuple[str, str, str, str]]:
    return sorted((item.file, item.label, item.split, item.group) for item in reading.recordings)


@pytest.mark.parametrize("task", MINIATURES)
def test_spaces_and_upper_case_endings_change_nothing_and_a_missing_file_is_noticed(tmp_path: Path, task: str) -> None:
    source = tmp_path / "My corpora (2)"
    MINIATURES[task](source)
    before = reads(task, source)
    lost = min((item for item in before.recordings if item.counted and item.split == "train"), default=None, key=str)
    lost = lost or min(before.recordings, key=str)
    upper = lost.path.with_suffix(lost.path.suffix.upper())
    lost.path.rename(upper)
    assert facts(reads(task, source)) == facts(before)
    upper.unlink()
    if sum(item.split == lost.split for item in before.recordings) == 1:  # it was all of its split
        refused(task, source, rf"is in the split '{lost.split}'; \d listed file.*missing: ")
        return
    after = reads(task, source)
    assert lost.file not in {item.file for item in after.recordings}
    listed = [name for name in after.missing if lost.path.stem in name]
    # Speech Commands and VoxForge list no training files: there the count alone says it.
    assert len(listed) == (0 if task.startswith(("speech", "voxforge")) else 1)
    with pytest.raises(DeloresError, match=r"not the whole corpus of .*recordings"):
        check_whole(find_task(task), after, source, subset=False)


@pytest.mark.parametrize("task", MINIATURES)
def test_groups_cross_no_honest_split_but_nsynths_own(tmp_path: Path, task: str) -> None:
    reading = reads(task, MINIATURES[task](tmp_path / "raw"))
    crossing = crossing_groups(reading.recordings)
    # NSynth's authors hear the same instruments in valid and test, none of them in train.
    assert crossing == (["guitar_acoustic_020"] if task == "nsynth_instrument" else [])


@pytest.mark.parametrize(
    ("task", "table", "change"),
    [
        ("tut_urban_scenes_2018", "meta.csv", ("airport\tab", "tram\tab")),
        ("bird_song", "warblrb10k_public_metadata_2018.csv", (",0", ",1")),
        ("urbansound8k", "UrbanSound8K.csv", ("dog_bark", "siren")),
    ],
)
def test_a_row_twice_is_one_and_rows_that_differ_are_refused(
    tmp_path: Path, task: str, table: str, change: tuple[str, str]
) -> None:
    MINIATURES[task](tmp_path)
    [path] = tmp_path.rglob(table)
    before = facts(reads(task, tmp_path))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines, lines[1], ""]))
    assert facts(reads(task, tmp_path)) == before
    path.write_text("\n".join([*lines, lines[1].replace(*change)]))
    refused(task, tmp_path, "two rows of .* differ")


def test_a_urbansound8k_of_real_size_is_whole_and_one_file_less_is_not(tmp_path: Path) -> None:
    spec = find_task("urbansound8k")
    lines = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold, (split, count) in enumerate(spec.counts.items(), 1):
        assert split == f"fold{fold - 1:02d}"
        folder = tmp_path / "audio" / f"fold{fold}"
        folder.mkdir(parents=True)
        for index in range(count):
            (folder / f"{fold}-{index}.wav").touch()
            lines.append(f"{fold}-{index}.wav,{fold},0,4,1,{fold},{index % 10},class{index % 10}")
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "UrbanSound8K.csv").write_text("\n".join(lines))
    assert check_whole(spec, read_corpus(spec, tmp_path), tmp_path, subset=False) is None
    (tmp_path / "audio" / "fold7" / "7-3.wav").unlink()
    with pytest.raises(DeloresError, match=r"8,731 of 8,732 recordings; fold06 837 of 838; 1 listed .*fold7/7-3.wav"):
        check_whole(spec, read_corpus(spec, tmp_path), tmp_path, subset=False)


def test_an_iemocap_of_real_size_is_whole(tmp_path: Path) -> None:
    spec = find_task("iemocap_emotion")
    # 4,490 in all, 942 of them of Session5, are known; how the others fall on the sessions is made up.
    assert spec.counts == {"fold04": 942}
    for session, count in enumerate((900, 900, 900, 848, 942), 1):
        dialogue = f"Ses0{session}M_script01_1"
        lines = []
        wav = tmp_path / f"Session{session}" / "sentences" / "wav" / dialogue
        wav.mkdir(parents=True)
        for index in range(count):
            emotion = ("ang", "hap", "neu", "sad")[index % 4]
            lines.append(f"[{index}.0 - {index}.5]\t{dialogue}_F{index:03d}\t{emotion}\t[2.5, 2.5, 2.5]")
            (wav / f"{dialogue}_F{index:03d}.wav").touch()
        folder = tmp_path / f"Session{session}" / "dialog" / "EmoEvaluation"
        folder.mkdir(parents=True)
        (folder / f"{dialogue}.txt").write_text("\n".join(lines))
    for name in spec.variants:
        chosen = spec.for_split(name)
        assert check_whole(chosen, read_corpus(chosen, tmp_path), tmp_path, subset=False) is None
