"""The licence of each file of a Debian package, as its copyright file states it.

A machine-readable copyright file (DEP-5, "copyright-format/1.0") gives licences by patterns of paths in the *source*
package; the files of the installed package lie elsewhere. So a pattern fits a file if it fits the end of its path.
Where none does, patterns are tried without their own first folders. If several fit, the last one counts, as the format
says. Other copyright files are prose: all licences that they name are listed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Licences"]

UNKNOWN = "see its copyright file"
#: Regular expressions of how prose names a licence, with its short name in DEP-5.
PROSE = (
    (r"common-licenses/(Artistic|Apache-2\.0|GPL-[123]|LGPL-[23](?:\.1)?|GFDL-1\.[23]|GFDL|LGPL|GPL|BSD)\b", r"\1"),
    (r"\bCC[ -]BY[ -]SA[ -](\d\.\d)", r"CC-BY-SA-\1"),
    (r"Attribution[ -]Share ?Alike(?: License)?,?(?: version)? v?(\d\.\d)", r"CC-BY-SA-\1"),
    (r"\bCC[ -]BY[ -](\d\.\d)", r"CC-BY-\1"),
    (r"Creative Commons Attribution(?: License)?,?(?: version)? v?(\d\.\d)", r"CC-BY-\1"),
    (r"\bCC0\b", "CC0-1.0"),
    (r"\bMIT license\b|\(MIT\b|granted, free of charge, to any person obtaining a copy", "MIT"),
    (r"\bpublic domain\b", "public-domain"),
    (r"(?:GNU )?General Public License,? (?:as published[^.]*?)?version (\d)", r"GPL-\1"),
)  # fmt: skip


class _Rule(NamedTuple):
    patterns: tuple[str, ...]
    licence: str


class Licences:
    """The licences in the text of a copyright file; a non-empty ``override`` replaces them all."""

    def __init__(self, text: str, override: str = "") -> None:
        self._override = override
        machine = re.match(r"\s*(?:#.*\n)*Format(?:-Specification)?:", text) is not None
        self._rules = _rules(text) if machine else []
        self._statement = "" if self._rules else _named_in(text)

    def of(self, path: str) -> str:
        """The licence of the file with this path in the package."""
        if self._override:
            return self._override
        if not self._rules:
            return self._statement
        path = path.removeprefix("./")
        named = [rule for rule in self._rules if rule.patterns != ("*",)]
        for shorten in (False, True):
            for rule in reversed(named):
                if any(_fits(path, pattern, shorten) for pattern in rule.patterns):
                    return rule.licence
        general = [rule.licence for rule in self._rules if "*" in rule.patterns]
        return general[-1] if general else " or ".join(dict.fromkeys(rule.licence for rule in self._rules))


def _rules(text: str) -> list[_Rule]:
    rules = []
    for paragraph in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        fields: dict[str, str] = {}
        key = ""
        for line in paragraph.splitlines():
            if line[:1] in (" ", "\t"):
                fields[key] = f"{fields.get(key, '')}\n{line.strip()}"
            elif ":" in line:
                key, _, value = line.partition(":")
                key = key.strip().lower()
                fields[key] = value.strip()
        patterns = tuple(re.split(r"[\s,]+", fields.get("files", "").strip()))
        licence = next((line for line in fields.get("license", "").splitlines() if line.strip()), "").strip()
        own = patterns and not all(pattern.startswith("debian/") for pattern in patterns)
        if fields.get("files") and licence and own:
            rules.append(_Rule(patterns, licence))
    return rules


def _fits(path: str, pattern: str, shorten: bool) -> bool:
    """Whether a pattern of the source fits the end of a path; with ``shorten``, the pattern without first folders."""
    pattern = pattern.removeprefix("./")
    forms = [pattern]
    if shorten:
        parts = pattern.split("/")
        # "data/sounds/*" keeps at least "sounds/*"; "data/sounds/bang.ogg" may be shortened to its name.
        most = len(parts) - (2 if set(parts[-1]) <= {"*"} else 1)
        forms = ["/".join(parts[i:]) for i in range(1, most + 1)]
    expressions = [re.escape(form).replace(r"\*", ".*").replace(r"\?", ".") for form in forms if set(form) - set("*?/")]
    return any(re.fullmatch(f"(?:.*/)?{expression}", path, re.DOTALL) for expression in expressions)


def _named_in(text: str) -> str:
    """The licences that prose names, joined by "and"."""
    flat = " ".join(text.split())
    found = [match.expand(short) for prose, short in PROSE for match in re.finditer(prose, flat, re.IGNORECASE)]
    return " and ".join(sorted(dict.fromkeys(found))) or UNKNOWN
