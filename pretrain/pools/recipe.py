"""The recipe of a pool: a YAML file of sources, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from pydantic import Field

from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.files import check_name
from pretrain.inputs.schema import Schema
from pretrain.inputs.yaml_file import read_yaml

__all__ = ["Debian", "Espeak", "Folder", "Recipe", "SoundFont", "Source", "list_recipes", "read_recipe"]

RECIPES = Path(__file__).parent
Name = Annotated[str, pydantic.AfterValidator(lambda value: check_name(value, ""))]
#: The names that Debian allows for packages. They become arguments of a command, so nothing else may pass.
Package = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]+$", max_length=100)]
Packages = Annotated[tuple[Package, ...], Field(min_length=1)]
Hours = Annotated[float, Field(gt=0, le=10_000)]


class _Closed(Schema):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class _Source(_Closed):
    """The keys that all sources have.

    Attributes:
        name: the folder audio/<name> of the pool holds the clips.
        max_hours: the source gives at most so many hours, shared among its packages or languages.
        licence: replaces what the packages say themselves.
    """

    name: Name
    max_hours: Hours | None = None
    licence: str = ""


class _Recordings(_Source):
    """``minutes_per_file``: a file gives at most so many minutes, in clips that are spread evenly over it."""

    minutes_per_file: Annotated[float, Field(gt=0, le=10_000)] | None = None


class Debian(_Recordings):
    """Recordings in Debian packages, and in archives like .pk3, .wz and .zip inside them."""

    kind: Literal["debian"]
    packages: Packages


class Folder(_Recordings):
    """Recordings in a folder; ``path`` is relative to the recipe."""

    kind: Literal["folder"]
    path: str


class SoundFont(_Source):
    """Notes, chords, phrases and drums, rendered from the sound fonts of packages.

    Attributes:
        renditions: the number of clips in a group.
        group_by: what the clips of a group share, the "instrument" or the "melody".
    """

    kind: Literal["soundfont"]
    packages: Packages
    max_hours: Hours = 1.0
    renditions: Annotated[int, Field(ge=1, le=100)] = 3
    group_by: Literal["instrument", "melody"] = "instrument"


class Espeak(_Source):
    """Words spoken by espeak-ng.

    Attributes:
        languages: a voice of espeak-ng -> a package with a list of words (usr/share/dict or hunspell), or the words.
        renditions: so many variants of the voice speak the same words; their clips are a group.
        words: a clip has 1 to so many words.
    """

    kind: Literal["espeak"]
    languages: Annotated[dict[str, Package | tuple[str, ...]], Field(min_length=1)]
    max_hours: Hours = 1.0
    renditions: Annotated[int, Field(ge=1, le=100)] = 3
    words: Annotated[int, Field(ge=1, le=20)] = 3

    @pydantic.field_validator("languages")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        for language, words in value.items():
            check_name(language, "languages")
            if not words:
                raise ValueError(f"expected words of {language}, or the name of a package")
        return value


KINDS = ("debian", "folder", "soundfont", "espeak")


def _kind(value: Any) -> str:
    """The kind that a source names: pydantic then reports the faults of this kind alone."""
    return str(value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None))


Source = Annotated[
    Annotated[Debian, pydantic.Tag("debian")]
    | Annotated[Folder, pydantic.Tag("folder")]
    | Annotated[SoundFont, pydantic.Tag("soundfont")]
    | Annotated[Espeak, pydantic.Tag("espeak")],
    pydantic.Discriminator(_kind),
]


class Recipe(_Closed):
    """A whole recipe.

    Attributes:
        seed: seeds what is rendered, and which clips stay where a source has more than ``max_hours``.
        sample_rate: of the clips, in Hz.
        clip_s: longer recordings are cut into clips of at most so many seconds.
        min_s: a clip that is shorter than so many seconds, without the silence around it, is left out.
    """

    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    sample_rate: Annotated[int, Field(ge=8000, le=48000)] = 16000
    clip_s: Annotated[float, Field(ge=1, le=600)] = 10.0
    min_s: Annotated[float, Field(ge=0.01, le=60)] = 0.1
    sources: Annotated[tuple[Source, ...], Field(min_length=1)]

    @pydantic.field_validator("sources")
    @classmethod
    def _named_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        names = [source.name for source in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two sources are called {name!r}; rename one")
        return value


def list_recipes() -> list[str]:
    """The names of the bundled recipes, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def read_recipe(recipe: str | Path) -> tuple[Recipe, Path]:
    """The recipe in a YAML file, or a bundled one by its name; and the folder that its paths are relative to.

    Raises:
        DeloresError: there is no such recipe, or a key or value does not fit.
    """
    text = str(recipe)
    path = Path(recipe)
    if not text.endswith((".yaml", ".yml")):
        if text not in list_recipes():
            hint = did_you_mean(text, list_recipes())
            raise DeloresError(f"there is no recipe {text!r}: give a YAML file or a recipe's name. {hint}")
        path = RECIPES / f"{text}.yaml"
    values = read_yaml(path)
    try:
        return Recipe.model_validate(values), path.parent
    except pydantic.ValidationError as error:
        raise DeloresError(f"{path}: {_explain(error)}") from None


#: pydantic's faults in words of a YAML file.
_PLAIN = {
    "extra_forbidden": "there is no such key",
    "missing": "expected a value, but there is none",
    "too_short": "expected at least one, but got none",
    "tuple_type": "expected a list",
    "dict_type": "expected keys with values",
    "string_type": "expected a text",
}


def _explain(error: pydantic.ValidationError) -> str:
    """The first fault in one line, after its place, such as ``sources.0.packages``."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in KINDS)
    message = " ".join(str(first["msg"]).removeprefix("Value error, ").split())
    if first["type"] == "union_tag_invalid":
        kind = _kind(first["input"])
        message = f"expected a kind of {', '.join(KINDS)}, got {kind!r}. {did_you_mean(kind, KINDS)}"
    if first["type"] == "model_type" and not where:
        message = "expected keys with values, such as `sources:` with a list"
    if plain := _PLAIN.get(first["type"]):
        message = plain
    return f"{where}: {message}" if where else message
