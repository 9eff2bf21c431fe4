"""Ablations: the same pre-training with something changed at a time, each result scored on tasks, in one table.

The table shows *validation* scores unless told otherwise: a recipe that is chosen by test scores has no test left.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from benchmarks.embedding.foreign_code import one_line
from benchmarks.embedding.model import ModelSpec
from benchmarks.reading.tables.ablation_table import AblationRow, AblationTable, ablation_tables, to_csv, to_markdown
from benchmarks.results.format import ResultRecord
from benchmarks.running.run import Failure, run
from benchmarks.scoring.protocols import find_protocol
from benchmarks.tasks.folder import TaskFolder
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_path
from pretrain.config import PretrainConfig, differences, load_config
from pretrain.distributed.world import world_size
from pretrain.inputs.yaml_file import read_yaml
from pretrain.training.start import Watching, pretrain
from pretrain.watching.picture import read_log

__all__ = ["Ablation", "AblationSummary", "Setting", "read_settings"]

BASE, RANDOM = "base", "random"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")  # names folders and models
RANDOM_ENCODER = "random"


@dataclass(frozen=True)
class Setting:
    """One run: its name, its whole configuration, and what of that differs from the base, key by key."""

    name: str
    config: PretrainConfig
    differs: dict[str, Any]

    @property
    def difference(self) -> str:
        """As one would write it on the command line."""
        return " ".join(f"{key}={_text(value)}" for key, value in self.differs.items())


@dataclass
class AblationSummary:
    """What came of an ablation: one table per protocol, and what failed."""

    tables: list[AblationTable] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def read_settings(
    preset: str | Path, shared: Sequence[str] = (), texts: Iterable[str] = (), file: Path | None = None
) -> list[Setting]:
    """The base, and every setting of the file and the texts, resolved before anything is trained.

    Args:
        preset: of the base: a preset's name or a YAML file.
        shared: ``key.sub=value`` overrides of the base and so of all settings.
        texts: settings of the form ``NAME: KEY=VALUE ...``. A word ``preset=P`` builds on another preset.
        file: YAML of such lines: {name: "key=value ..."} or {name: [key=value, ...]}.

    Raises:
        DeloresError: a setting that cannot be read, a name given twice, a key or value that does not fit (with the
            setting's name), or a setting that is the base.
    """
    base = load_config(preset, shared)
    settings = [Setting(BASE, base, {})]
    for name, words in [*_of_file(file), *map(_of_text, texts)]:
        if not NAME.fullmatch(name) or name == BASE or name.startswith(RANDOM):
            raise DeloresError(
                f"a setting cannot be called {name!r}; use letters, digits, '.', '_', '+' and '-', "
                "but not base or random"
            )
        if name in [setting.name for setting in settings]:
            raise DeloresError(f"two settings are called {name!r}; give each a name of its own")
        presets = [word.removeprefix("preset=") for word in words if word.startswith("preset=")]
        overrides = [word for word in words if not word.startswith("preset=")]
        try:
            config = load_config(presets[-1] if presets else preset, [*shared, *overrides])
        except DeloresError as error:
            raise DeloresError(f"setting {name!r}: {error}") from None
        if config == base:
            raise DeloresError(f"setting {name!r} is the same as the base; change at least the seed")
        settings.append(Setting(name, config, differences(config, base)))
    return settings


def _of_text(text: str) -> tuple[str, list[str]]:
    name, colon, words = text.partition(":")
    if not colon or "=" in name:
        raise DeloresError(f"expected a setting of the form 'NAME: KEY=VALUE ...', got {text!r}")
    return name.strip(), _words(name, words)


def _of_file(path: Path | None) -> list[tuple[str, list[str]]]:
    if path is None:
        return []
    values = read_yaml(path)
    if not isinstance(values, dict) or not values:
        raise DeloresError(f"{path}: expected lines of the form 'NAME: KEY=VALUE ...'")
    found = []
    for name, words in values.items():
        if not isinstance(words, str) and not (isinstance(words, list) and all(isinstance(w, str) for w in words)):
            raise DeloresError(f"{path}: expected KEY=VALUE ... after {name}:, got {words!r}")
        found.append((str(name), _words(str(name), words) if isinstance(words, str) else words))
    return found


def _words(name: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise DeloresError(f"setting {name!r}: {error}: {text.strip()}") from None


def _text(value: Any) -> str:
    """A JSON value as YAML in one word."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1 << 20)
    return text.removesuffix("\n...\n").strip().replace(" ", "")


@dataclass
class Ablation:
    """Trains and scores settings one after the other, and rewrites ``ablation.md`` and ``.csv`` after each.

    The folder ``out`` gets ``runs/<setting>/`` (as ``delores pretrain`` makes it), ``embeddings/`` and ``results/`` (as
    ``delores run`` does). What is there already is not done again; a run that was stopped goes on where it was.

    Args:
        tasks: to score on.
        protocols, seeds, device: of scoring, as for :func:`benchmarks.running.run.run`.
        split: "valid" or "test": which scores the table shows.
        skip_bad, quiet: as for :func:`pretrain.training.start.pretrain`.
        say: told what happens. Test scores are not among it unless the table shows them.
    """

    settings: Sequence[Setting]
    data: str | Path
    out: Path
    tasks: Sequence[TaskFolder]
    _: KW_ONLY
    protocols: Sequence[str] = ("linear",)
    seeds: Sequence[int] = (42,)
    device: str = "auto"
    split: Literal["valid", "test"] = "valid"
    skip_bad: bool = False
    quiet: bool = True
    say: Callable[[str], None] = lambda text: None

    def __post_init__(self) -> None:
        for protocol in self.protocols:
            find_protocol(protocol)
        if self.split not in ("valid", "test"):
            raise DeloresError(f"expected the split to be valid or test, got {self.split!r}")
        if world_size() > 1:
            raise DeloresError("an ablation runs in one process; start delores ablate without torchrun")
        self.rows: list[AblationRow] = []
        self.records: list[ResultRecord] = []
        self.summary = AblationSummary()
        self._shapes: list[tuple[Any, ...]] = []  # of encoders, each with an untrained one in the table

    def run(self) -> AblationSummary:
        """Everything that is not done yet. A setting that fails is noted, and the others still run."""
        for number, setting in enumerate(self.settings, 1):
            self.say(f"[{number}/{len(self.settings)}] {setting.name}: {setting.difference or 'unchanged'}")
            path = self._train(setting)
            self.rows.append(_row(setting, self.out / "runs" / setting.name))
            if path is not None:
                config = setting.config
                shape = (config.encoder, config.frontend, config.normalization, config.scene)
                if shape not in self._shapes:
                    self._shapes.append(shape)
                    label = RANDOM if len(self._shapes) == 1 else f"{RANDOM}-{setting.name}"
                    self.rows.append(AblationRow(label, f"the encoder of {setting.name}, not trained"))
                    self._score(ModelSpec(RANDOM_ENCODER, str(path), label=label))
                self._score(ModelSpec("hear_delores", str(path), label=setting.name))
            self._write()
        return self.summary

    def _train(self, setting: Setting) -> Path | None:
        try:
            return pretrain(
                setting.config, self.data, self.out / "runs" / setting.name, resume=True, skip_bad=self.skip_bad,
                quiet=self.quiet, watching=Watching(picture=True),
            )  # fmt: skip
        except Exception as error:  # memory, a disk: the other settings may still do
            self._failed(Failure(setting.name, "", one_line(error)))
            return None

    def _score(self, model: ModelSpec) -> None:
        found = run(
            [model], self.tasks, self.out, protocols=self.protocols, seeds=self.seeds, device=self.device,
            skip_bad=self.skip_bad,
        )  # fmt: skip
        self.records += found.records
        for failure in found.failures:
            self._failed(failure)
        for task, clips in found.skipped_clips.items():
            self.say(f"  {task}: {len(clips)} clips left out: {', '.join(clips)}")
        self.say(f"  {model.label}: {len(found.records)} scores")

    def _failed(self, failure: Failure) -> None:
        self.summary.failures.append(failure)
        self.say(f"  failed: {failure}")

    def _write(self) -> None:
        """The tables of what is there so far: a grid takes days, and a look at it should not."""
        rows = sorted(self.rows, key=lambda row: not row.name.startswith(RANDOM))  # stable: random ones first
        self.summary.tables = tables = ablation_tables(rows, self.records, self.split)
        failed = [str(failure) for failure in self.summary.failures]
        for name, text in (("ablation.md", to_markdown(tables, failed)), ("ablation.csv", to_csv(tables))):
            with atomic_path(self.out / name) as temporary:
                temporary.write_text(text, encoding="utf-8")


def _row(setting: Setting, folder: Path) -> AblationRow:
    """What the run's log says about its end, as far as it came."""
    log = folder / "log.jsonl"
    lines = [line for line in read_log(log) if "loss" in line] if log.is_file() else []
    last: dict[str, Any] = lines[-1] if lines else {}
    return AblationRow(
        setting.name,
        setting.difference,
        steps=last.get("step"),
        clips=last.get("clips"),
        hours=last["seconds"] / 3600 if last else None,
        loss=last.get("loss"),
        diagonal=last.get("mean_diagonal"),
        rank=last.get("rank_embedding"),
    )
