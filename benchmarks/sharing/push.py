"""The upload of a checkpoint to the Hub: first a folder that can be looked at, then one commit with all of it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results.format import ResultRecord
from benchmarks.sharing.model_card import UNKNOWN_LICENCE, model_card
from hear_delores.checkpoint import load_checkpoint, read_header
from hear_delores.errors import DeloresError
from hear_delores.files import atomic_folder, file_hash, write_json
from hear_delores.hub import CONFIG_FILE, LIBRARY, WEIGHTS_FILE, HubName, hub_errors, hub_library, is_delores_repo
from hear_delores.shipped import find_weights

__all__ = ["Pushed", "prepare_repository", "push"]

CARD_FILE = "README.md"
#: The files that the Hub itself puts into a new repository.
_OF_THE_HUB = {".gitattributes"}


@dataclass(frozen=True)
class Pushed:
    """Where the checkpoint is now: its page, and the commit to cite, ``hf:ORG/NAME@COMMIT``."""

    url: str
    commit: str


def prepare_repository(
    checkpoint: str | Path,
    repository: str,
    out: str | Path,
    records: Sequence[ResultRecord] = (),
    *,
    licence: str = UNKNOWN_LICENCE,
) -> Path:
    """Writes the files that :func:`push` uploads into the folder ``out``, and returns the folder.

    ``model.safetensors`` is the checkpoint, byte for byte; ``config.json`` is its header and the keys by which this
    library recognises it; ``README.md`` is the card. A folder of an earlier call is replaced.

    Args:
        checkpoint: a file, or the name of bundled weights.
        repository: ORG/NAME.
        records: results for the card, of the checkpoint and of the models that it is compared with.
        licence: of the weights, by the Hub's name for it, such as cc-by-4.0.

    Raises:
        DeloresError: ``checkpoint`` is not one of this project, all results are of other weights, or ``out`` holds
            something else.
    """
    name = _repository(repository)
    path = find_weights(checkpoint)
    header, model = read_header(path), load_checkpoint(path)
    card = model_card(name.repository, model, records, licence=licence)
    config = {"model_type": LIBRARY, "library_name": LIBRARY, "weights_file": WEIGHTS_FILE}
    with atomic_folder(out, (CONFIG_FILE,)) as folder:
        shutil.copyfile(path, folder / WEIGHTS_FILE)
        digest = file_hash(folder / WEIGHTS_FILE)
        write_json(folder / CONFIG_FILE, {**config, "weights_sha256": digest, **header})
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
    return Path(out)


def push(
    folder: str | Path, repository: str, *, private: bool = False, revision: str = "", message: str = ""
) -> Pushed:
    """Uploads a folder of :func:`prepare_repository` as one commit, and returns its page and commit.

    Args:
        repository: ORG/NAME; it is created if it does not exist.
        private: create it as a private repository. A public repository that exists is then refused.
        revision: a branch, created if it does not exist. Default: the main branch.
        message: of the commit. Default: one that says what it is.

    Raises:
        DeloresError: huggingface_hub is not installed, nobody is logged in, the Hub refuses or cannot be reached, or
            the repository holds a model of another library.
    """
    library, name = hub_library(), _repository(repository)
    with hub_errors(name):
        api = library.HfApi()
        api.create_repo(name.repository, private=private or None, exist_ok=True)
        _check_repository(api.model_info(name.repository), name, private)
        if revision:
            api.create_branch(name.repository, branch=revision, exist_ok=True)
        files = (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE)
        commit = api.create_commit(
            name.repository,
            [library.CommitOperationAdd(file, str(Path(folder) / file)) for file in files],
            commit_message=message or f"Add a checkpoint of {LIBRARY}",
            revision=revision or None,
        )
        return Pushed(f"{api.endpoint}/{name.repository}", commit.oid)


def _repository(text: str) -> HubName:
    try:
        name = HubName.parse(text)
    except DeloresError:
        name = HubName("")
    if name.is_folder or name.revision or "/" not in name.repository:
        raise DeloresError(f"expected a repository as ORG/NAME, got {text!r}; a branch is given with --revision")
    return name


def _check_repository(info: object, name: HubName, private: bool) -> None:
    """Raises DeloresError if the repository holds another model, or is public where it should be private."""
    if private and getattr(info, "private", None) is False:
        raise DeloresError(
            f"{name.repository} exists and is public: make it private on its page, or choose another name"
        )
    held = {item.rfilename for item in getattr(info, "siblings", None) or ()} - _OF_THE_HUB
    if held and not (held == {CARD_FILE} or is_delores_repo(name)):
        raise DeloresError(
            f"{name.repository} holds something else ({', '.join(sorted(held)[:3])}): choose another name"
        )
