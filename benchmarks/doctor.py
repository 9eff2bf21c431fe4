"""What is installed and works on this machine, and how to fix the rest."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Diagnosis", "diagnose"]

PACKAGES = (
    "torch", "numpy", "safetensors", "scipy", "soundfile", "soxr", "scikit-learn", "pandas", "pydantic",
    "PyYAML", "typer", "rich",
)  # fmt: skip


@dataclass(frozen=True)
class Diagnosis:
    """One fact about the machine: fine, worth knowing, or broken (then ``advice`` says what to do)."""

    name: str
    state: Literal["ok", "note", "broken"]
    value: str
    advice: str = ""


def diagnose() -> list[Diagnosis]:
    """The current state of everything that this project's commands depend on."""
    return [*_python(), *_packages(), *_devices(), *_audio(), *_weights(), *_space()]


def _python() -> Iterator[Diagnosis]:
    version = platform.python_version()
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        yield Diagnosis("python", "ok", version)
    else:
        yield Diagnosis("python", "note", version, "hear-delores is tested on 3.10 to 3.13; use one of these")


def _packages() -> Iterator[Diagnosis]:
    for name in PACKAGES:
        try:
            yield Diagnosis(name, "ok", importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Diagnosis(name, "broken", "missing", f"pip install {name}")


def _devices() -> Iterator[Diagnosis]:
    import torch

    yield Diagnosis("cpu threads", "ok", f"{torch.get_num_threads()} of {os.cpu_count()}")
    if torch.cuda.is_available():
        yield Diagnosis("cuda", "ok", torch.cuda.get_device_name(0))
    else:
        yield Diagnosis("cuda", "note", "no GPU: everything runs on the CPU")
    mps = getattr(torch.backends, "mps", None)
    if mps is not None and mps.is_available():
        yield Diagnosis("mps", "ok", "available")


def _audio() -> Iterator[Diagnosis]:
    import tempfile

    import numpy as np
    import soundfile

    from hear_delores.errors import DeloresError
    from pretrain.data.audio import read_channels

    kinds = (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None))
    for form, subtype in kinds:
        name = f"audio: {subtype.title() if form == 'OGG' and subtype else form}"
        try:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"silence.{form.lower()}"
                soundfile.write(path, np.zeros(16000, np.float32), 16000, format=form, subtype=subtype)
                read_channels(path)
            yield Diagnosis(name, "ok", f"libsndfile {soundfile.__libsndfile_version__}")
        except (soundfile.LibsndfileError, DeloresError, ValueError) as error:
            yield Diagnosis(name, "note", str(error), "files of this format cannot be read; convert them to FLAC")


def _weights() -> Iterator[Diagnosis]:
    import hear_delores
    from hear_delores.checkpoint import weights_hash
    from hear_delores.errors import DeloresError

    try:
        model = hear_delores.load_model()
        yield Diagnosis("shipped weights", "ok", f"{model.info.get('method')}, sha256 {weights_hash(model)[:8]}")
    except DeloresError as error:
        yield Diagnosis("shipped weights", "broken", str(error), "reinstall hear-delores")


def _space() -> Iterator[Diagnosis]:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free > 5:
        yield Diagnosis("free disk here", "ok", f"{free:.0f} GB")
    else:
        yield Diagnosis("free disk here", "note", f"{free:.0f} GB", "embeddings need room")
