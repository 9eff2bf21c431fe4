"""The code blocks of README.md, CONTRIBUTING.md and docs/*.md, and what the comment before one tells the test to do.

A block of sh, bash or python is run, in the order of its page, unless an HTML comment stands before it:

    <!-- test: run with WORDS -->      each command of the block is run with these words added
    <!-- test: run with run: WORDS --> only `delores run` gets them
    <!-- test: parse, REASON -->       commands, options and arguments are checked, nothing is run
    <!-- test: long, REASON -->        as parse in the default tests, and run by `tox -e long`
    <!-- test: skip, REASON -->        neither
    <!-- test: file NAME -->           the block is the content of that file, which later commands use
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
RUNNABLE = ("sh", "bash", "console", "python")

_BLOCK = re.compile(
    r"^(?:<!-- test: (?P<marker>[^\n]*?) -->\n+)?```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^```$", re.M | re.S
)
_MARKER = re.compile(r"(?P<kind>run with|parse|long|skip|file)\b,?\s*(?P<rest>.*)")


@dataclass(frozen=True)
class Block:
    """One fenced block. ``kind`` is run, parse, long, skip or file; ``rest`` the words, reason or name after it."""

    page: str
    line: int
    language: str
    text: str
    kind: str
    rest: str

    @property
    def where(self) -> str:
        """As ``docs/evaluate.md:12``."""
        return f"{self.page}:{self.line}"

    def words(self, command: list[str]) -> list[str]:
        """A command of this block as it is to be run."""
        only, added = re.fullmatch(r"(?:(\w+): )?(.*)", self.rest).groups()
        return command if only not in (None, command[1]) else [*command, *shlex.split(added)]

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command line of a shell block, comments left out and lines joined."""
        joined = re.sub(r"\\\n\s*", " ", self.text)
        return [words for line in joined.splitlines() if (words := shlex.split(line, comments=True))]


def blocks(page: Path) -> list[Block]:
    """The blocks of a page that a reader may run or that a marker names.

    Raises ValueError for a marker that says nothing known, gives no reason, or stands before no block.
    """
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix() if ROOT in page.parents else page.name
    found, used = [], 0
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        kind, rest = "run", ""
        if match["marker"] is not None:
            used += 1
            known = _MARKER.fullmatch(match["marker"])
            if known is None or not known["rest"]:
                raise ValueError(
                    f"{name}:{line}: a marker is one of run with, parse, long, skip, file, each with its rest"
                )
            kind, rest = known["kind"].split()[0], known["rest"]
        if match["language"] in RUNNABLE or match["marker"] is not None:
            found.append(Block(name, line, match["language"], match["text"], kind, rest))
    if used != text.count("<!-- test:"):
        raise ValueError(f"{name}: a marker does not stand right before a block")
    return found


def links(page: Path) -> list[str]:
    """The targets of a page's links outside of code, those to other sites left out."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Markdown's table of contents and GitHub name them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip()) for title in headings}
