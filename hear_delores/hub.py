"""Checkpoints of ours on the Hugging Face Hub: ``hf:ORG/NAME[@REVISION]``, found, downloaded and checked.

A repository of ours holds ``model.safetensors``, a checkpoint as :mod:`hear_delores.checkpoint` writes it, and a
``config.json`` that says so, with the SHA-256 of the former. ``hf:./folder`` is the same in a folder of this machine.
The package ``huggingface_hub`` is imported when a repository is asked for, and its settings hold: ``HF_HOME``,
``HF_TOKEN``, ``HF_ENDPOINT``, ``HF_HUB_OFFLINE``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hear_delores.documents import read_json
from hear_delores.errors import DeloresError
from hear_delores.files import check_name, file_hash

__all__ = [
    "CONFIG_FILE",
    "LIBRARY",
    "PREFIX",
    "WEIGHTS_FILE",
    "HubName",
    "fetch",
    "hub_errors",
    "hub_library",
    "is_delores_repo",
]

PREFIX = "hf:"
LIBRARY = "hear-delores"
"""The ``library_name`` of our model cards and the ``model_type`` of our ``config.json``."""
CONFIG_FILE, WEIGHTS_FILE = "config.json", "model.safetensors"
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?", re.ASCII)
#: Packages whose exceptions are about the connection or the Hub's answer.
_CLIENTS = ("huggingface_hub", "httpx", "httpcore", "requests", "urllib3", "hf_xet")
#: What they raise where the answer is none of the Hub's, such as a login page of the network.
_NO_ANSWER = (json.JSONDecodeError, UnicodeDecodeError, TypeError, LookupError, AttributeError)


@dataclass(frozen=True)
class HubName:
    """A repository on the Hub at a revision (a branch, a tag or a commit; "" is its main branch), or a folder."""

    repository: str
    revision: str = ""

    @classmethod
    def parse(cls, text: str) -> HubName:
        """The name that a text such as ``hf:ORG/NAME@REVISION`` states; the prefix may be left out.

        Raises:
            DeloresError: it is of another form.

        >>> HubName.parse("hf:someone/small@v1.0")
        HubName(repository='someone/small', revision='v1.0')
        >>> HubName.parse("hf:./hub/someone/small").is_folder
        True
        """
        name = text.removeprefix(PREFIX)
        if cls(name).is_folder:
            return cls(name)
        repository, at, revision = name.partition("@")
        if not _REPOSITORY.fullmatch(repository) or bool(at) != bool(revision.strip()):
            raise DeloresError(f"expected {PREFIX}ORG/NAME[@REVISION] or {PREFIX}./FOLDER, got {text!r}")
        return cls(repository, revision)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of this machine: an absolute path, or one that begins with a dot or ``~``."""
        return self.repository.startswith((".", "~", "/")) or os.path.isabs(self.repository)

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}{f'@{self.revision}' if self.revision else ''}"


def is_delores_repo(name: str | HubName) -> bool:
    """Whether a repository holds a checkpoint of this project, which :func:`fetch` gets.

    Args:
        name: ``hf:ORG/NAME[@REVISION]`` or ``hf:./FOLDER``.

    Raises:
        DeloresError: there is no such repository or revision, or the Hub cannot be asked.
    """
    return _config(_parsed(name))[1] is not None


def fetch(name: str | HubName) -> Path:
    """The checkpoint's file in a repository of ours: downloaded into the Hub's cache, or from there.

    Args:
        name: ``hf:ORG/NAME[@REVISION]`` or ``hf:./FOLDER``.

    Raises:
        DeloresError: there is no such repository or revision, it is of another library, the Hub cannot be asked, or
            the file is not the one that was pushed.
    """
    hub = _parsed(name)
    commit, config = _config(hub)
    if config is None:
        raise DeloresError(
            f"{hub} holds no checkpoint of {LIBRARY}: give it as a model of its own, `delores run {hub}`, which reads "
            f"it through transformers (pip install 'hear-delores[hf]')"
        )
    file = check_name(config.get("weights_file", WEIGHTS_FILE), f"weights_file in the {CONFIG_FILE} of {hub}")
    path = _file(HubName(hub.repository, commit), file)
    if path is None:
        raise DeloresError(f"{hub} has a {CONFIG_FILE} of {LIBRARY} and no {file}: push it again with `delores push`")
    expected = config.get("weights_sha256")
    if expected is not None and (found := file_hash(path)) != expected:
        raise DeloresError(
            f"{hub}: {file} is damaged: expected the SHA-256 {str(expected)[:12]}..., got {found[:12]}...; delete "
            f"{os.path.realpath(path)} and load it again"
        )
    return path


def _parsed(name: str | HubName) -> HubName:
    return name if isinstance(name, HubName) else HubName.parse(name)


def _config(hub: HubName) -> tuple[str, dict[str, Any] | None]:
    """The commit that a name leads to, and the ``config.json`` there; None where it is not ours."""
    path = _file(hub, CONFIG_FILE)
    if path is None:
        return hub.revision, None
    try:
        config = read_json(path, nan=True)
    except DeloresError:  # of another library, whose files have other rules
        return hub.revision, None
    commit = hub.revision if hub.is_folder else path.parent.name  # .../snapshots/<commit>/config.json
    return commit, config if config.get("model_type") == LIBRARY else None


def _file(hub: HubName, name: str) -> Path | None:
    """A file of a repository; None where there is none of that name."""
    if hub.is_folder:
        folder = Path(hub.repository).expanduser()
        if not folder.is_dir():
            raise DeloresError(f"{hub}: there is no folder {folder}; check the path")
        return folder / name if (folder / name).is_file() else None
    library = hub_library()
    with hub_errors(hub):
        try:
            return Path(library.hf_hub_download(hub.repository, name, revision=hub.revision or None))
        except library.errors.EntryNotFoundError as error:
            if isinstance(error, library.errors.LocalEntryNotFoundError):  # of the cache: the Hub was not asked
                raise
    return None


def hub_library() -> ModuleType:
    """The package ``huggingface_hub``, with its errors. Raises DeloresError where it is not installed."""
    try:
        library = importlib.import_module("huggingface_hub")
        for part in ("constants", "errors"):
            importlib.import_module(f"huggingface_hub.{part}")
    except ModuleNotFoundError as error:
        raise DeloresError(
            f"the Hugging Face Hub needs {error.name}, which is not installed: pip install 'hear-delores[hf]'"
        ) from None
    return library


@contextlib.contextmanager
def hub_errors(hub: HubName) -> Iterator[None]:
    """Around calls of ``huggingface_hub``: what fails there is a DeloresError that says what to do, in one line."""
    try:
        yield
    except DeloresError:
        raise
    except Exception as error:
        if not _is_of_clients(error):
            raise
        raise DeloresError(_explain(error, hub)) from None


def _is_of_clients(error: Exception) -> bool:
    """Whether it is an exception of theirs, or one of Python's that they raised over what they were given."""
    if type(error).__module__.startswith(_CLIENTS):
        return True
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    within = any(str(frame.f_globals.get("__name__")).startswith(_CLIENTS) for frame in frames)
    return within and isinstance(error, (ValueError, *_NO_ANSWER))


def _explain(error: Exception, hub: HubName) -> str:
    library = hub_library()
    errors, endpoint = library.errors, library.constants.ENDPOINT
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.GatedRepoError):
        return f"{hub} is gated: ask for access at {endpoint}/{hub.repository}, and log in with `hf auth login`"
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{endpoint} has no repository {hub.repository} that you may see: check the name, and for a private one "
            "log in with `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{hub.repository} has no revision {hub.revision!r}: give a branch, a tag or a commit of it"
    if isinstance(error, (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled)):
        cache = library.constants.HF_HUB_CACHE
        if library.constants.HF_HUB_OFFLINE:
            return f"{hub} is not in the cache {cache}, and HF_HUB_OFFLINE is set: load it once without"
        return f"cannot reach {endpoint}, and {hub} is not in the cache {cache}: check the network"
    if status == 401:
        return f"{endpoint} does not know who you are: log in with `hf auth login`, or set HF_TOKEN"
    if status == 403:
        return f"{endpoint} does not let you write to {hub.repository}: use a token with the right to write there"
    if isinstance(error, _NO_ANSWER):
        return (
            f"{endpoint} does not answer {hub.repository} as the Hugging Face Hub does: check HF_ENDPOINT, and whether "
            "the network shows a page to log in first"
        )
    words = " ".join(str(error).split())
    if isinstance(error, ValueError):  # such as metadata of the card that it does not know
        return f"{endpoint} refused what was asked of {hub.repository}: {words}"
    if status is not None:
        return f"{endpoint} refused what was asked of {hub.repository} (status {status}): {words}"
    return f"cannot reach {endpoint} for {hub.repository} ({words or type(error).__name__}): check the network"
