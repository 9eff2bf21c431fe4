"""The thirty tasks of the registry against the benchmark's and the paper's own tables, written down here."""

from __future__ import annotations

import csv
import importlib
from pathlib import Path

import pytest

from benchmarks.scoring.hear.grid import grid_configs, postprocessing_configs
from benchmarks.tasks.registry import find_task, join_columns, list_columns, list_tasks, read_spec
from hear_delores.errors import DeloresError

ACCURACY = "top1_acc mAP d_prime aucroc"
#: Folder name, split, kind, classes, seconds, clips, metrics, leaderboard column: the reference's hear.md, section 8,
#: Beehive in its two halves.
HEAR = (
    """
dcase2016_task2-hear2021-full|TVT|event|11|120|72|event_onset_200ms_fms segment_1s_er|DCASE 2016
nsynth_pitch-v2.2.3-5h|TVT|scene|88|4|5000|pitch_acc chroma_acc|NSynth Pitch 5h
nsynth_pitch-v2.2.3-50h|TVT|scene|88|4|49060|pitch_acc chroma_acc|NSynth Pitch 50h
speech_commands-v0.0.2-5h|TVT|scene|12|1|22890|top1_acc|Speech commands 5h
speech_commands-v0.0.2-full|TVT|scene|12|1|100503|top1_acc|Speech commands full
beehive_states_fold0-v2-full|TVT|scene|2|600|576|aucroc mAP d_prime top1_acc|Beehive
beehive_states_fold1-v2-full|TVT|scene|2|600|576|aucroc mAP d_prime top1_acc|Beehive
beijing_opera-v1.0-hear2021-full|5|scene|4|4.77|236|ACC|Beijing Opera
tfds_crema_d-1.0.0-full|5|scene|6|5|7438|ACC|CREMA-D
esc50-v2.0.0-full|5 presplit|scene|50|5|2000|ACC|ESC-50
fsd50k-v1.0-full|TVT|scene multilabel|200|null|51185|mAP d_prime aucroc top1_acc|FSD50K
tfds_gtzan-1.0.0-full|10|scene|10|30|1000|ACC|GTZAN Genre
tfds_gtzan_music_speech-1.0.0-full|10|scene|2|30|128|ACC|GTZAN Music/Speech
gunshot_triangulation-v1.0-full|7|scene|4|1.5|88|ACC|Gunshot
libricount-v1.0.0-hear2021-full|5|scene|11|5|5720|ACC|Libricount
maestro-v3.0.0-5h|5|event|88|120|185|event_onset_50ms_fms event_onset_offset_50ms_20perc_fms|Maestro 5h
mridangam_stroke-v1.5-full|5|scene|10|0.81|6977|ACC|Mridangam Stroke
mridangam_tonic-v1.5-full|5|scene|6|0.81|6977|ACC|Mridangam Tonic
vocal_imitation-v1.1.3-full|3|scene|302|11.26|5601|mAP d_prime aucroc top1_acc|Vocal Imitation
vox_lingua_top10-hear2021-full|5|scene|10|18.64|972|ACC|VoxLingua107 top 10
""".strip()
    .replace("ACC", ACCURACY)
    .splitlines()
)

#: Whose corpus does not tell HEAR's folds or events.
DOWNLOADED = {"tfds_crema_d", "tfds_gtzan", "tfds_gtzan_music_speech", "maestro"}

#: Our name, the paper's name, its classes, clips and mean seconds (what is cut or padded to), our split: the
#: reference's delores.md, section 4.
DELORES = """
speech_commands_v1_12|Speech Commands V1|12|64721|0.98|TVT
speech_commands_v2_12|Speech Commands V2-12|12|105829|0.98|TVT
speech_commands_v2_35|Speech Commands V2-35|35|105829|0.98|TVT
librispeech100_speaker|LibriSpeech-100|585|28538|12.69|TVT
voxceleb1_speaker|VoxCeleb1|1251|153397|8.20|TVT
iemocap_emotion|IEMOCAP|4|4490|4.49|5
nsynth_instrument|NSynth|11|301883|4.00|TVT
urbansound8k|UrbanSound8K|10|8732|4|10
tut_urban_scenes_2018|TUT Urban Acoustic Scenes 2018|10|8640|10|TVT
voxforge_language|VoxForge|6|176438|6.68|TVT
bird_song|Bird Song Detection|2|15690|10.08|TVT
""".strip().splitlines()

#: Where a corpus holds something else than the paper counts: (classes, clips) of the honest split.
#: Silence adds 789 slices; LibriSpeech has 251 speakers, 28,539 utterances; VoxCeleb1's list 153,516; the paper's
#: NSynth left the test set out.
OURS = {
    "speech_commands_v1_12": (12, 64721 + 789),
    "speech_commands_v2_12": (12, 105829 + 789),
    "librispeech100_speaker": (251, 28539),
    "voxceleb1_speaker": (1251, 153516),
    "nsynth_instrument": (11, 301883 + 4096),
}
#: Published test sets: recordings of the test split by task and split's name.
TESTED = {
    "speech_commands_v1_12": {"honest": 6835, "published": 6835},
    "speech_commands_v2_12": {"honest": 11005, "published": 11005, "test_archive": 4890},
    "speech_commands_v2_35": {"honest": 11005, "published": 11005},
    "voxceleb1_speaker": {"honest": 8251},
    "nsynth_instrument": {"honest": 4096, "published": 12678},
    "tut_urban_scenes_2018": {"honest": 2518, "published": 2518},
    "bird_song": {"warblr_test": 8000, "freefield1010_test": 7690},
}


@pytest.mark.parametrize("line", HEAR, ids=lambda line: line.split("|")[0])
def test_a_hear_task_is_as_the_benchmark_states_it(line: str) -> None:
    folder, split, kind, classes, seconds, clips, metrics, column = line.split("|")
    spec = find_task(folder)
    assert (spec.folder_name, spec.suite[0]) == (folder, "hear")
    assert (spec.classes, spec.clips) == (int(classes), int(clips))
    assert spec.sample_duration_s == (None if seconds == "null" else float(seconds))
    assert spec.evaluation == metrics.split()
    assert spec.embedding_type == kind.split()[0]
    assert spec.prediction_type == ("multiclass" if kind == "scene" else "multilabel")
    if split == "TVT":
        assert (spec.split_mode, spec.nfolds) == ("trainvaltest", None)
    else:
        folds, _, presplit = split.partition(" ")
        assert (spec.split_mode, spec.nfolds) == ("presplit_kfold" if presplit else "new_split_kfold", int(folds))
    assert spec.leaderboard is not None
    assert spec.leaderboard.name == column
    assert spec.archive is not None
    assert (spec.archive.zenodo_record, spec.archive.sample_rate) == (5885750, 48000)
    assert spec.obtain == (["download"] if folder.split("-")[0] in DOWNLOADED else ["prepare", "download"])
    assert {"task", *(["rules"] if spec.corpus and spec.name != "esc50" else [])} <= set(spec.cited)


@pytest.mark.parametrize("line", DELORES, ids=lambda line: line.split("|")[0])
def test_a_delores_task_is_as_the_paper_states_it(line: str) -> None:
    name, paper, classes, clips, seconds, split = line.split("|")
    spec = find_task(name)
    assert (spec.suite, spec.mode, spec.embedding_type, spec.prediction_type) == (
        ["delores"],
        "honest",
        "scene",
        "multiclass",
    )
    assert spec.paper is not None
    assert (spec.paper.name, spec.paper.classes, spec.paper.clips) == (paper, int(classes), int(clips))
    assert spec.paper.mean_duration_s == (None if name == "urbansound8k" else float(seconds))
    assert spec.sample_duration_s == float(seconds)
    assert spec.evaluation == ["top1_acc"]
    assert (spec.classes, spec.clips) == OURS.get(name, (int(classes), int(clips)))
    if split == "TVT":
        assert spec.split_mode == "trainvaltest"
    else:
        assert (spec.split_mode, spec.nfolds) == ("presplit_kfold", int(split))
    assert {"honest", "published"} <= set(spec.variants)
    assert spec.obtain == ["prepare"]
    for variant, tested in TESTED.get(name, {}).items():
        assert spec.for_split(variant).counts["test"] == tested


def test_there_are_thirty_and_no_other() -> None:
    columns = list_columns()
    assert len(columns) + len(list_tasks("delores")) == 30
    assert {spec.folder_name for spec in list_tasks("hear")} == {line.split("|")[0] for line in HEAR}
    assert {spec.name for spec in list_tasks("delores")} == {line.split("|")[0] for line in DELORES}


def test_the_columns_are_the_leaderboards(shared_data: Path) -> None:
    with open(shared_data.parent / "reference" / "leaderboard.csv", encoding="utf-8", newline="") as stream:
        assert set(next(csv.reader(stream))[3:]) == set(list_columns())


def test_counts_of_hears_tasks_add_up() -> None:
    for spec in list_tasks("hear"):
        if set(spec.counts) == set(spec.splits):
            silence = 789 if spec.folder_name == "speech_commands-v0.0.2-full" else 0
            assert sum(spec.counts.values()) == spec.clips - silence, spec.folder_name


def test_every_figure_says_where_it_comes_from(tmp_path: Path) -> None:
    for spec in [*list_tasks("hear"), *list_tasks("delores")]:
        stated = {"task"}
        stated |= {"licence"} if spec.licence else set()
        stated |= {"size"} if spec.size_bytes else set()
        stated |= {"counts"} if any(variant.counts for variant in spec.variants.values()) else set()
        assert stated <= set(spec.cited) <= stated | {"rules"}, spec.folder_name
    source = Path(find_task.__code__.co_filename).parent / "delores" / "urbansound8k.yaml"
    path = tmp_path / "urbansound8k.yaml"
    path.write_text(source.read_text(encoding="utf-8").replace("size_bytes: null", "size_bytes: 6023741708"))
    with pytest.raises(DeloresError, match=r"urbansound8k\.yaml: 'cited' does not say where the size comes from"):
        read_spec(path)


def test_counts_by_split_add_up_to_the_corpus() -> None:
    for spec in list_tasks("delores"):
        assert spec.corpus is not None
        for name, variant in spec.variants.items():
            if not variant.available:
                continue
            chosen = spec.for_split(name)
            if set(chosen.counts) == set(chosen.splits):
                total = sum(chosen.counts.values())
                assert total == (99714 if name == "test_archive" else spec.corpus.recordings), chosen.folder_name
            else:
                assert sum(chosen.counts.values()) < chosen.clips


def test_hears_speech_commands_is_its_recordings_and_789_slices_of_noise() -> None:
    spec = find_task("speech_commands-full")
    assert spec.clips == sum(spec.counts.values()) + 789


def test_beehive_is_the_mean_of_its_two_hives() -> None:
    scores = {"beehive_states_fold0": 0.5, "beehive_states_fold1-v2-full": 0.8, "esc50": 0.9}
    assert join_columns(scores) == {"Beehive": pytest.approx(0.65), "ESC-50": 0.9}
    assert join_columns({"beehive_states_fold0": 0.5}) == {}
    assert [spec.leaderboard.join for spec in list_columns()["Beehive"] if spec.leaderboard] == ["mean", "mean"]


def test_the_special_grids_reach_the_classifier() -> None:
    dcase = find_task("dcase2016_task2").to_metadata()
    assert {point.check_val_every_n_epoch for point in grid_configs(dcase)} == {10}
    assert {(p["median_filter_ms"], p["min_duration"]) for p in postprocessing_configs(dcase)} == {
        (250, 125),
        (250, 250),
    }
    maestro = find_task("maestro").to_metadata()
    points = grid_configs(maestro)
    assert {(p.max_epochs, p.check_val_every_n_epoch) for p in points} == {(50, 1)}
    assert [(p["median_filter_ms"], p["min_duration"]) for p in postprocessing_configs(maestro)] == [(150, 50)]
    assert maestro["use_scoring_for_early_stopping"] is False
    assert find_task("esc50").to_metadata()["use_scoring_for_early_stopping"] is True


def test_every_task_says_how_to_get_it() -> None:
    for spec in [*list_tasks("hear"), *list_tasks("delores")]:
        assert spec.obtain
        assert spec.obtain_note or spec.obtain == ["download"]
        if spec.corpus is not None:
            module = importlib.import_module(f"benchmarks.tasks.corpora.{spec.corpus.module}")
            assert callable(module.read)


def test_a_split_is_chosen_by_name() -> None:
    spec = find_task("iemocap_emotion")
    published = find_task("iemocap_emotion-published")
    assert published == spec.for_split("published")
    assert published.folder_name == "iemocap_emotion-1-published"
    assert (published.split_mode, published.nfolds, published.splits[-1]) == ("trainvaltest", None, "test")
    assert published.for_split("honest").counts == spec.counts
    assert find_task("librispeech100_speaker").for_split("published").classes == 585
    with pytest.raises(DeloresError, match="no split is called 'fair'; it has honest, published"):
        spec.for_split("fair")
    with pytest.raises(DeloresError, match="lists of 153,397 clips were not published"):
        find_task("voxceleb1_speaker").for_split("published")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode: honest", "is not one of the 'variants'"),
        ("counts: {train: 1}", "'train' is not one of its splits"),
        ("obtain: [prepare]", "no 'corpus' says how"),
        ("obtain: [download]", "no 'archive' says from where"),
    ],
)
def test_what_does_not_fit_together_is_refused(tmp_path: Path, text: str, message: str) -> None:
    source = Path(find_task.__code__.co_filename).parent / "hear" / "esc50.yaml"
    content = source.read_text(encoding="utf-8")
    if text.startswith("mode"):
        content = content.replace("mode: full", text)
    elif text.startswith("counts"):
        content = content.replace("counts: {fold00: 400", "counts: {train: 400")
    else:
        start = "corpus:" if "prepare" in text else "archive:"
        lines = content.replace("obtain: [prepare, download]", text).splitlines()
        cut = next(index for index, line in enumerate(lines) if line.startswith(start))
        length = 3 if start == "corpus:" else 1
        content = "\n".join(lines[:cut] + lines[cut + length :])
    path = tmp_path / "esc50.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DeloresError, match=message):
        read_spec(path)
