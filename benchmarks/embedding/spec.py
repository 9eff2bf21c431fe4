"""Which model: ``[LABEL=]MODEL[@WEIGHTS][?key=value&...]``, and labels that tell the models of a run apart."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from benchmarks.encoders.catalogue import ADAPTERS, READY, current_name
from benchmarks.results.label import short_name, slug, with_options
from hear_delores.errors import DeloresError, did_you_mean

__all__ = ["MODULE", "ModelSpec", "plain_options", "slug", "tell_apart"]

FORM = "[LABEL=]MODEL[@WEIGHTS][?key=value&...]"
_SPEC = re.compile(
    r"(?:(?P<label>[^=@?]*)=)?(?P<module>[^=@?]+)(?:@(?P<path>.*?))?(?:\?(?P<options>[^?]*))?", re.DOTALL
)
#: One option and what follows it; in double quotes "&" separates nothing.
_OPTION = re.compile(r'(?P<key>[^=&]*)(?P<equals>=?)(?P<value>"[^"]*"|[^&]*)(?:&|$)')
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]*")
#: What Python's import_module finds: parts that need not be identifiers, such as 80x208p16x16 or a-b.
MODULE = re.compile(r"\w[\w+-]*(?:\.\w[\w+-]*)*")
_ADAPTED = re.compile(r"(?P<adapter>\w+):(?P<target>.+)")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_NAMED = {"true": True, "false": False, "none": None}
#: Names that say nothing of a checkpoint: it is known by its folder.
_COMMON_STEMS = {"checkpoint"}


@dataclass(frozen=True)
class ModelSpec:
    """Which model: ``[LABEL=]MODEL[@WEIGHTS][?key=value&...]``.

    Attributes:
        module: a short name of :data:`benchmarks.encoders.catalogue.READY`, ``hf:...``, ``torchaudio:...``,
            ``xares:MODULE:CLASS``, an importable module with the three HEAR functions, or the path of such a ``.py``
            file. Older names of a model become its name of today.
        path: what its ``load_model`` is given (the revision of ``hf:ORG/NAME``); "" calls it without a path.
        options: further arguments of ``load_model``.
        label: how tables call it, and safe as a folder name; by default the model's name, with the path's stem (of
            a ``checkpoint`` with its folder's name) and the options after it.
    """

    module: str
    path: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    def __post_init__(self) -> None:
        _check_model(self.module)
        object.__setattr__(self, "_written", self.module)  # what default labels are made of
        object.__setattr__(self, "options", dict(self.options))  # a copy: the caller's may change
        for key in self.options:
            if not key.isidentifier():
                raise DeloresError(f"expected the name of an argument as model option of {self.module}; got {key!r}")
        if not self.label:
            object.__setattr__(self, "label", self._default_label(1 if self._common_stem else 0))
        if not _LABEL.fullmatch(self.label):
            raise DeloresError(
                f"the model label {self.label!r} names folders: use letters, digits, '.', '_', '+' and '-', "
                "and begin with a letter or digit"
            )
        ready = READY.get(self.module)
        if ready is not None and ready.weights:  # a name for weights of ours
            object.__setattr__(self, "module", ready.module)
            object.__setattr__(self, "path", self.path or ready.weights)
        object.__setattr__(self, "module", current_name(self.module))

    @classmethod
    def parse(cls, text: str, weights: str | None = None) -> ModelSpec:
        """The spec that a command line argument states.

        Option values are read as whole numbers, numbers, true, false or none where they look so; in double quotes
        they are strings. "%3F" and the like stand for characters that would separate.

        Args:
            weights: the WEIGHTS, where they are given beside ``text``.

        >>> spec = ModelSpec.parse('mine=my_model@weights/best.pt?layer=3&norm=true&name="true"')
        >>> spec.label, spec.module, spec.path, dict(spec.options)
        ('mine', 'my_model', 'weights/best.pt', {'layer': 3, 'norm': True, 'name': 'true'})
        >>> ModelSpec.parse("my_model@weights/best.pt").label
        'my_model-best'
        >>> ModelSpec.parse("my_model@runs/a/checkpoint.safetensors?pool=max").label
        'my_model-a-checkpoint-pool=max'
        >>> ModelSpec.parse("hf:facebook/wav2vec2-base?layer=6").label
        'wav2vec2-base-layer=6'
        """
        match = _SPEC.fullmatch(text)
        if match is None or match["label"] == "":
            raise DeloresError(f"cannot read the model {text!r}; expected {FORM}")
        if weights is not None and match["path"]:
            raise DeloresError(f"the model {text!r} names weights, and so does --model {weights}; give one of them")
        label = (match["label"] or "").strip()
        options = _options(text, match["options"] or "")
        return cls(unquote(match["module"].strip()), match["path"] or weights or "", options, label)

    def __hash__(self) -> int:
        return hash((self.module, self.path, self.label, tuple(sorted(map(repr, self.options.items())))))

    def __str__(self) -> str:
        options = "&".join(f"{key}={_text(value)}" for key, value in self.options.items())
        module = re.sub(r"[%=@?]", lambda mark: f"%{ord(mark[0]):02X}", self.module)
        return f"{module}{f'@{self.path}' if self.path else ''}{f'?{options}' if options else ''}"

    @property
    def label_with_options(self) -> str:
        """The label, with the options after it unless it ends in them: names folders."""
        return with_options(self.label, self.options)

    @property
    def adapter(self) -> tuple[str, str] | None:
        """The name of the adapter and its target, of a model such as ``hf:ORG/NAME``; None of other models."""
        match = _adapted(self.module)
        return (match["adapter"], match["target"]) if match else None

    @property
    def file(self) -> Path | None:
        """The Python file, of a model that is one."""
        return Path(self.module).expanduser() if _is_file(self.module) else None

    @property
    def name(self) -> str:
        """The model as records and embeddings know it: a file by its name, wherever it lies."""
        if self.file is not None:
            return self.file.name
        if self.adapter is None or not _is_local(self.adapter[1]):
            return self.module
        adapter, target = self.adapter
        return f"{adapter}:{Path(target).expanduser().resolve().name}"

    def with_full_paths(self) -> ModelSpec:
        """The same model, wherever a process stands: paths of files and folders that are here are whole."""
        module, path = self.module, self.path
        if self.file is not None:
            module = str(self.file.resolve())
        elif self.adapter is not None and _is_local(self.adapter[1]):
            adapter, target = self.adapter
            module = f"{adapter}:{Path(target).expanduser().absolute()}"
        if path and Path(path).exists():  # what is no file here may be a name that the module knows
            path = str(Path(path).absolute())
        return replace(self, module=module, path=path)

    @property
    def _common_stem(self) -> bool:
        return Path(self.path).stem in _COMMON_STEMS

    @property
    def _places(self) -> tuple[list[str], list[str]]:
        """The parts of the model's name and of the path, each as folders and a last word."""
        words = [*_folders(self.path), Path(self.path).stem] if self.path else []
        written: str = self.__dict__["_written"]
        adapted = _adapted(written)
        if adapted is None:
            return [*_folders(written), Path(written).stem] if _is_file(written) else [written], words
        if adapted["adapter"] == "xares":
            return [adapted["target"].rpartition(":")[2]], words
        if adapted["adapter"] == "hf":  # of which the path is a revision, such as v1.0
            words = [self.path] if self.path else []
        return [*_folders(adapted["target"]), Path(adapted["target"]).name], words

    def _default_label(self, folders: int) -> str:
        """The model, the last ``folders`` folders of the path, its stem and the options."""
        model, weights = self._places
        # What only a run needs to tell apart are folders of the weights, and of the model where it has no weights.
        before = max(0, folders - max(0, len(weights) - 1))
        words = [*model[max(0, len(model) - 1 - before) :], *weights[max(0, len(weights) - 1 - folders) :]]
        name = "-".join(slug(word) for word in words)
        name = re.sub(r"^[^A-Za-z0-9]+|\.+$", "", name) or "model"
        return with_options(short_name(name), self.options)


def _folders(path: str) -> list[str]:
    return [name for name in Path(path).parent.parts if slug(name) != "none" and name not in ("/", ".", "..")]


def _adapted(model: str) -> re.Match[str] | None:
    """The parts of NAME:TARGET; a letter alone is a drive of Windows."""
    match = _ADAPTED.fullmatch(model)
    return match if match and len(match["adapter"]) > 1 else None


def _is_file(model: str) -> bool:
    return model.endswith(".py") and not _adapted(model)


def _is_local(target: str) -> bool:
    """Whether what an adapter is given is a path here: one that says so, as ./folder does."""
    return target.startswith((".", "/", "~")) or Path(target).is_absolute()


def _check_model(model: str) -> None:
    """Raises DeloresError unless the text is of one of the forms of a MODEL."""
    adapted = _adapted(model)
    if adapted and adapted["adapter"] not in ADAPTERS:
        raise DeloresError(f"no adapter is called {adapted['adapter']!r}. {did_you_mean(adapted['adapter'], ADAPTERS)}")
    if adapted or _is_file(model) or MODULE.fullmatch(model):
        return
    advice = (
        f"for a model of the Hub, write hf:{model}"
        if re.fullmatch(r"[\w.-]+/[\w.-]+", model)
        else ("'delores models' lists the first two")
    )
    raise DeloresError(
        "expected a short name, an adapter such as hf:ORG/NAME, a Python module's name or the path of a .py file; "
        f"got {model!r} ({advice})"
    )


def tell_apart(specs: Sequence[ModelSpec]) -> list[ModelSpec]:
    """The models of one run, each once, with labels of their own.

    Default labels of checkpoints of one name get the names of as many of their folders as it takes.

    Raises:
        DeloresError: one label is given to two models.
    """
    found = list({_key(spec): spec for spec in reversed(specs)}.values())[::-1]
    by_default = [spec.label == spec._default_label(int(spec._common_stem)) for spec in found]
    for depth in range(1, 1 + max((len(Path(spec.path).parts) + spec.module.count("/") for spec in found), default=0)):
        for number in {number for numbers in _shared(found).values() for number in numbers}:
            if by_default[number]:
                spec = found[number]
                found[number] = replace(spec, label=spec._default_label(depth + int(spec._common_stem)))
    for label, numbers in _shared(found).items():
        one, other = (found[number] for number in numbers[:2])
        raise DeloresError(
            f"two models are called {label!r}: {one} and {other}; give each a label of its own, LABEL=MODEL..."
        )
    return found


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a file holds them: sorted, in JSON's types."""
    return json.loads(json.dumps(dict(sorted(options.items())), default=str))  # type: ignore[no-any-return]


def _shared(specs: Sequence[ModelSpec]) -> dict[str, list[int]]:
    """The labels of several models, with their numbers."""
    numbers = defaultdict(list)
    for number, spec in enumerate(specs):
        numbers[spec.label].append(number)
    return {label: own for label, own in numbers.items() if len(own) > 1}


def _key(spec: ModelSpec) -> tuple[str, str, str, str]:
    path = Path(spec.path)
    where = str(path.resolve()) if spec.path and path.exists() else spec.path
    return spec.label, spec.with_full_paths().module, where, json.dumps(plain_options(spec.options))


def _options(text: str, words: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    place = 0
    while place < len(words):
        match = _OPTION.match(words, place)
        if match is None or not match["equals"] or match.end() == place:
            part = words[place:].partition("&")[0]
            raise DeloresError(f"cannot read the option {part!r} of the model {text!r}; expected key=value")
        if match["key"] in options:
            raise DeloresError(f"the option {match['key']!r} of the model {text!r} is given twice; remove one")
        options[match["key"]] = _value(match["key"], match["value"])
        place = match.end()
    if words.endswith("&"):
        raise DeloresError(f"the model {text!r} ends with &; expected another key=value after it, or no &")
    return options


def _value(key: str, written: str) -> Any:
    """The value that a text states: quoted ones are strings, and so is what no number or name looks like."""
    if len(written) > 1 and written[0] == written[-1] == '"':
        return unquote(written[1:-1])
    text = unquote(written)
    if text.lower() in _NAMED:
        return _NAMED[text.lower()]
    if not _NUMBER.fullmatch(text):
        return text
    try:
        number = int(text) if _WHOLE.fullmatch(text) else float(text)
    except ValueError:  # more digits than Python reads
        number = math.inf
    if isinstance(number, float) and not math.isfinite(number):
        raise DeloresError(
            f'expected a finite number as model option {key}, got {text[:40]}; for a string, write {key}="..."'
        )
    return number


def _text(value: Any) -> str:
    """A value as one would write it, so that it is read as it is."""
    if not isinstance(value, str):
        return str(value)
    written = re.sub(r'[%&?"]', lambda mark: f"%{ord(mark[0]):02X}", value)
    return f'"{written}"' if value.lower() in _NAMED or _NUMBER.fullmatch(value) else written
