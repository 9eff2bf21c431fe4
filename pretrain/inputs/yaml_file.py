"""YAML files, read in one place: safe, bounded, and with the numbers that people mean."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from typing import Any

import yaml

from hear_delores.documents import read_text
from hear_delores.errors import DeloresError

__all__ = ["parse_yaml", "read_yaml"]

#: Our longest file has 5 levels and 200 values. What is far beyond is a mistake, or made to exhaust memory.
MAX_DEPTH = 50
MAX_NODES = 100_000
MAX_CHARACTERS = 1 << 20


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """The value of a YAML file in UTF-8. Raises DeloresError naming the file; see :func:`parse_yaml`."""
    return parse_yaml(read_text(path), os.fspath(path))


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; ``where`` is what errors call it.

    ``5e-5`` is a number, as in YAML 1.2. Keys are the text as it is written: ``0.50: x`` has the key "0.50".

    Raises:
        DeloresError: no YAML, several documents, a key that occurs twice or is no text, NaN or infinity, more than
            50 levels or 100,000 values (aliases counted by what they stand for), a tag that makes an object.

    >>> parse_yaml("lr: 5e-5", "it")
    {'lr': 5e-05}
    >>> parse_yaml("lr: 1\\nlr: 2", "it")
    Traceback (most recent call last):
    hear_delores.errors.DeloresError: it: line 2: the key 'lr' occurs twice; remove one
    """
    if len(text) > MAX_CHARACTERS:
        raise DeloresError(f"{where}: {len(text):,} characters of YAML, expected at most {MAX_CHARACTERS:,}")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _count(node, {}) > MAX_NODES:
            raise DeloresError(f"{where}: its aliases expand to more than {MAX_NODES:,} values; write fewer")
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark is not None and "\n" in text.strip() else ""
        if isinstance(error, _Fault):
            raise DeloresError(f"{where}: {line}{error.problem}") from None
        what = _one_line(" ".join(part for part in (error.context, error.problem) if part))
        raise DeloresError(f"{where}: {line}not YAML ({what})") from None
    except RecursionError:
        raise DeloresError(f"{where}: nested deeper than {MAX_DEPTH} levels") from None
    # PyYAML says with nearly any exception that a value is not of its tag (`!!bool x`, a number of 5,000 digits).
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        if isinstance(error, DeloresError):
            raise
        raise DeloresError(f"{where}: not YAML ({_one_line(error)})") from None


class _Fault(yaml.MarkedYAMLError):
    """YAML that is well-formed and not accepted here."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads ``5e-5`` as the float it is in YAML 1.2 (and not as YAML 1.1's string), strictly."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Fault(f"nested deeper than {MAX_DEPTH} levels", self.peek_event().start_mark)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                raise _Fault("expected a key that is text", key.start_mark)
            if key.value in seen:
                raise _Fault(f"the key {key.value[:60]!r} occurs twice; remove one", key.start_mark)
            seen.add(key.value)
            key.tag = "tag:yaml.org,2002:str"
        return super().construct_mapping(node, deep=deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        if isinstance(node, yaml.ScalarNode):  # (a list or mapping under the tag of a text is for PyYAML to refuse)
            try:
                node.value.encode("utf-8")
            except UnicodeEncodeError:
                raise _Fault("a lone surrogate in a text", node.start_mark) from None
        return super().construct_scalar(node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        _no_sixties(node)
        value = float(super().construct_yaml_float(node))
        if not math.isfinite(value):
            raise _Fault(f"expected a finite number, got {node.value[:60]}", node.start_mark)
        return value

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        _no_sixties(node)
        if len(node.value) > 40:
            raise _Fault(f"a number of {len(node.value):,} digits is too large", node.start_mark)
        return int(super().construct_yaml_int(node))


def _no_sixties(node: yaml.ScalarNode) -> None:
    """YAML 1.1 reads 1:30 as 90; YAML 1.2, and whoever reads the file, does not."""
    if ":" in node.value:
        raise _Fault(
            f"{node.value[:60]} is neither a number nor a text; write the number, or quote it", node.start_mark
        )


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _count(node: yaml.Node, known: dict[int, int]) -> int:
    """Values below a node, each alias counted as often as it is used."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise _Fault("an alias refers to itself", node.start_mark)
        return known[id(node)]
    known[id(node)] = 0  # being counted
    known[id(node)] = 1 + sum(_count(child, known) for child in _children(node))
    return known[id(node)]


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for item in node.value if isinstance(node, yaml.CollectionNode) else ():
        yield from item if isinstance(item, tuple) else (item,)


def _one_line(error: object) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
