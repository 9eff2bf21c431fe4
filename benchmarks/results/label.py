"""What models are called in tables, and their folders on disk: labels with the options after them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["option_suffix", "short_name", "slug", "with_options"]

#: Longer names of folders are cut.
LONGEST_NAME = 100


def slug(text: str) -> str:
    """``text`` with everything that is not safe in a folder name replaced by "-".

    >>> slug("a b/c=1.5")
    'a-b-c-1.5'
    """
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-") or "none"


def short_name(name: str) -> str:
    """``name``, cut where it is too long for a folder's, with a hash of the rest."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def with_options(label: str, options: Mapping[str, Any]) -> str:
    """The label, with the options after it unless it ends in them: names folders.

    >>> with_options("m", {"pool": "max"}), with_options("m-pool=max", {"pool": "max"})
    ('m-pool=max', 'm-pool=max')
    """
    suffix = option_suffix(options)
    return label if label.endswith(suffix) else short_name(label + suffix)


def option_suffix(options: Mapping[str, Any]) -> str:
    """What follows a label: "-pool=max"; "" without options."""
    return "".join(f"-{slug(key)}={slug(str(value))}" for key, value in sorted(options.items()))
