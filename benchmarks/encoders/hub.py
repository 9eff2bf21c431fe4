"""The encoders of the Hugging Face Hub, and of folders in its layout, as HEAR models: ``hf:ORG/NAME[@REVISION]``.

``huggingface_hub`` downloads and caches; its ``HF_HOME`` and ``HF_HUB_OFFLINE`` apply.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.encoders.frames import FrameEncoder, get_scene_embeddings, get_timestamp_embeddings
from benchmarks.encoders.hub_families import family_of
from hear_delores.errors import DeloresError
from hear_delores.settings import require_integer

__all__ = ["get_scene_embeddings", "get_timestamp_embeddings", "load_model"]

EXTRA = "pip install 'hear-delores[hf]'"
#: Parameters that a checkpoint may lack, for no embedding depends on them.
_UNUSED = re.compile(r"masked_spec_embed|pooler|classifier|projection_layer|lm_head")


def load_model(
    target: str = "",
    revision: str = "",
    layer: int | str = -1,
    pool: str = "mean",
    chunk_s: float | None = None,
    overlap_s: float | None = None,
    seed: int | None = None,
    trust_remote_code: bool = False,
) -> FrameEncoder:
    """A model of the Hub, or of a folder, as a HEAR model.

    Args:
        target: ORG/NAME, or a folder that begins with ".", "/" or "~".
        revision: a branch, tag or commit of the Hub; "" is the default branch.
        layer: -1, 0 to the number of layers, "mean" or "all"; see :class:`benchmarks.encoders.frames.Layers`.
        pool: how frames become a scene embedding, of :data:`benchmarks.encoders.frames.POOLS`.
        chunk_s, overlap_s: seconds of audio in one pass, and seconds that neighbouring passes share.
        seed: takes the architecture alone, with random weights of this seed.
        trust_remote_code: allow Python code of the model's repository to run.

    Raises:
        DeloresError: transformers is not installed, there is no such model or revision, it is not in the cache and the
            Hub cannot be reached, it is not an audio encoder, or an option is out of range.
    """
    if not target:
        raise DeloresError("expected a model after hf:, such as hf:facebook/wav2vec2-base or hf:./folder")
    if not isinstance(trust_remote_code, bool):
        raise DeloresError(f"expected trust_remote_code to be true or false; got {trust_remote_code!r}")
    if seed is not None:
        require_integer("hf", "seed", seed, 0)
    transformers = _transformers()
    where, local = _where(target, revision)
    common: dict[str, Any] = {"trust_remote_code": trust_remote_code, **({"revision": revision} if revision else {})}
    with _quiet(transformers), _explained(target, revision, trust_remote_code):
        config = transformers.AutoConfig.from_pretrained(where, **common)
        commit = "" if local else _commit(transformers, where, revision)
        extractor = transformers.AutoFeatureExtractor.from_pretrained(where, **common)
        whole = _whole(transformers, where, config, common, seed, trust_remote_code)
    model = family_of(
        whole, config, extractor, {"layer": layer, "pool": pool, "chunk_s": chunk_s, "overlap_s": overlap_s}
    )
    model.revision = _digest(Path(where)) if local else commit
    return model.eval()


def _transformers() -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise DeloresError(f"models of the Hub need the package {error.name!r}: {EXTRA}") from None
    return transformers


def _where(target: str, revision: str) -> tuple[str, bool]:
    """The folder or the name on the Hub, and whether it is a folder."""
    if not target.startswith((".", "/", "~")) and not Path(target).is_absolute():
        return target, False
    folder = Path(target).expanduser()
    if revision:
        raise DeloresError(f"a folder has no revision, got @{revision}; leave it out")
    if not (folder / "config.json").is_file():
        what = "has no config.json" if folder.is_dir() else "is not there"
        raise DeloresError(f"the folder {target} {what}; expected one that save_pretrained of transformers has written")
    return str(folder), True


def _whole(transformers: Any, where: str, config: Any, common: Any, seed: int | None, trusted: bool) -> Any:
    """The whole model with the weights of its checkpoint, or with random ones of a seed.

    Raises:
        DeloresError: the checkpoint lacks weights, so that they would be random.
    """
    if seed is not None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return transformers.AutoModel.from_config(config, trust_remote_code=trusted)
    model, info = transformers.AutoModel.from_pretrained(
        where, config=config, dtype=torch.float32, output_loading_info=True, **common
    )
    # Text encoders and decoders are not used.
    missing = sorted(
        name for name in info["missing_keys"] if not _UNUSED.search(name) and not name.startswith(("decoder", "text_"))
    )
    if missing:
        raise DeloresError(
            f"{len(missing)} tensors of the model are not in the checkpoint, such as {missing[0]}; they would be "
            "random; name a checkpoint of the encoder"
        )
    return model


def _commit(transformers: Any, name: str, revision: str) -> str:
    """The commit of the cached files of a model and revision."""
    file = transformers.utils.cached_file(name, "config.json", **({"revision": revision} if revision else {}))
    parts = Path(file).parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else revision


def _digest(folder: Path) -> str:
    """A hash of a folder's JSON and Python files. The weights are not among them; they are hashed elsewhere."""
    digest = hashlib.sha256()
    for name in sorted(path.name for path in folder.glob("*.json")):
        if not name.endswith(".index.json"):
            digest.update(f"{name}\0".encode() + (folder / name).read_bytes())
    for path in sorted(folder.glob("*.py")):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:40]


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Silences the library's warnings and progress bars: what matters among them is raised as an error here."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _explained(target: str, revision: str, trusted: bool) -> Iterator[None]:
    """Turns errors of the library into one line that says what to do."""
    try:
        yield
    except DeloresError:
        raise
    except Exception as error:  # the library and the code that a model brings raise anything
        raise DeloresError(_explanation(error, target, revision, trusted)) from error


def _explanation(error: Exception, target: str, revision: str, trusted: bool) -> str:
    names, texts, cause = [], [], error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        names.append(type(cause).__name__)
        texts.append(" ".join(str(cause).split()))
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    text = " | ".join(texts)
    if "GatedRepoError" in names:
        return (
            f"the Hub gives {target} only to users who have agreed to its terms: do so there, then run 'hf auth login'"
        )
    if "RevisionNotFoundError" in names or "is not a valid git identifier" in text:
        return f"{target} has no revision {revision!r} on the Hub; check it there"
    if "RepositoryNotFoundError" in names or "HFValidationError" in names:
        return f"the Hub has no model {target}; check the name (a private one needs 'hf auth login')"
    if {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectionError", "ConnectError", "ProxyError"} & {*names}:
        return (
            f"{target} is not in the cache, and the Hub cannot be asked; go online once, or name a folder: hf:./folder"
        )
    if "trust_remote_code" in text and not trusted:
        return f"{target} brings code of its own; read it, and then allow it: hf:{target}?trust_remote_code=true"
    if "feature extractor" in text.lower() or "preprocessor_config.json" in text:
        return f"{target} has no feature extractor (preprocessor_config.json), which says what audio it takes"
    if isinstance(error, ImportError):
        return f"{target} needs a package that is not installed: {texts[0]}"
    return f"transformers cannot load {target}: {type(error).__name__}: {texts[0][:300]}"
