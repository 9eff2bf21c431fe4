"""The base of every schema in this project: a number must be a number.

Of itself pydantic takes true for 1, "3" for 3 and 7.0 for 7: in a file that is a slip, and never what was meant.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any, get_args

import pydantic

from hear_delores.settings import shown

__all__ = ["Figure", "Schema"]

#: As :func:`hear_delores.documents.to_json` writes what JSON has no number for.
_NOT_FINITE = {None: math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _read_figure(value: Any) -> Any:
    if isinstance(value, bool) or (isinstance(value, str) and value not in _NOT_FINITE):
        raise ValueError("expected a number")
    return _NOT_FINITE[value] if value is None or isinstance(value, str) else value


_FIGURE = pydantic.BeforeValidator(_read_figure)
#: A number that may be NaN or infinite.
Figure = Annotated[float, _FIGURE]


class Schema(pydantic.BaseModel):
    """A model whose numbers are no truth values and no text; sections that are dataclasses included."""

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _numbers_are_numbers(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        kind = field.annotation
        if _FIGURE in field.metadata:
            return value  # which it checks itself
        if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            for item in dataclasses.fields(kind):
                if item.type in ("int", "float") and isinstance(value.get(item.name), (bool, str)):
                    raise ValueError(f"expected {item.name} to be a number, got {shown(value[item.name])}")
        elif _is_numeric(kind) and any(isinstance(item, (bool, str)) for item in _items(value)):
            raise ValueError("expected a number")
        return value


def _is_numeric(kind: Any) -> bool:
    """Whether an annotation is of numbers, or of a tuple or dict of them."""
    inner = get_args(kind)
    if _FIGURE in inner:
        return False  # it is checked by itself
    return any(map(_is_numeric, inner)) if inner else kind in (int, float)


def _items(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
