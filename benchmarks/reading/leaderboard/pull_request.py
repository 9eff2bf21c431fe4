"""The pull request of a leaderboard submission: the template of the site's repository, filled in.

The site asks for a fork, a branch named after the team, one row appended to ``docs/leaderboard.csv``, a title that is
the team's name, and one pull request for each model. Its template is a list of bold labels with the answer after each,
two of them with check boxes, and at the end, below a rule, a block that the committee fills in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reading.leaderboard.submission import BEEHIVE_RULE, Submission, append_row
from benchmarks.reading.published import published_text
from hear_delores.errors import DeloresError, did_you_mean
from hear_delores.files import atomic_path

__all__ = [
    "DATA_KINDS",
    "TEMPLATE",
    "PullRequest",
    "branch_name",
    "fill_template",
    "pull_request",
    "write_submission",
]

DATA_KINDS = ("speech", "broad-domain", "music")
"""The kinds of pre-training data that the template has a check box for."""

TEMPLATE = """\
**TEAM NAME**

Dear HEAR committee,

please review this submission to the HEAR leaderboard:

**Team Name:**

**Model Name:**

**Author(s):**

**Model URL/GitHub:**

**Paper Link:**

**Model Description:**

**Pre-training Data:**
* [ ] speech
* [ ] broad-domain
* [ ] music

**Number of Model Trainable Parameters:**

**Scene Embedding Dimensions:**

**Timestamp Embedding Dimensions:**

**Were you able to evaluate your model on all 19 tasks?:**
* [ ] yes
* [ ] no

**If you answered no to the last question, list which tasks you were unable to complete and why:**

---

**ORGANISATION COMMITTEE (do not fill out)**

* [ ] Committee acknowledgment
* [ ] Committee decision [accept/reject]
"""
"""The fields of the repository's template at 3af3234, in its order; ``--template`` takes a newer one."""

#: Which answer belongs to a label: the first pattern that its words match.
_FIELDS = {
    "missing": r"unable|and why",
    "whole": r"\ball \d+ tasks\b|able to evaluate",
    "team": r"^team name",
    "name": r"^model name",
    "authors": r"^author",
    "url": r"\burl\b|github",
    "paper": r"^paper",
    "description": r"description",
    "data": r"^pre-?training data",
    "parameters": r"parameters",
    "scene": r"^scene embedding",
    "timestamp": r"^timestamp embedding",
}
#: The option of ``delores submit`` for what only the submitter knows.
_OPTIONS = {
    "team": "--team", "authors": "--authors", "paper": "--paper", "description": "--description",
    "data": "--data-kind",
}  # fmt: skip
_LABEL = re.compile(r"\*\*(?P<label>.+?)(?P<colon>:?)\*\*(?P<after>:?)\s*(?P<answer>.*)")
_BOX = re.compile(r"(?P<before>\s*[*+-] )\[ ?\](?P<after>\s*(?P<words>.*))")
_RULE = re.compile(r"\s*(-{3,}|\*{3,}|_{3,})\s*")


@dataclass(frozen=True)
class PullRequest:
    """What a submitter pastes. ``left`` are the fields without an answer, each with the option that gives one."""

    title: str
    branch: str
    body: str
    left: tuple[str, ...]


def branch_name(name: str) -> str:
    """The name of a git branch for a team or a model.

    >>> branch_name("Ängström Lab + 2")
    'ängström-lab-2'
    """
    return "-".join(re.findall(r"\w+", name.casefold())) or "submission"


def pull_request(submission: Submission, template: str | None = None) -> PullRequest:
    """The pull request of a submission.

    Args:
        template: the text of the repository's template; None takes its fields as they were in 2023.

    Raises:
        DeloresError: the template has none of the fields, or the facts name an unknown kind of data.
    """
    facts = submission.facts
    for kind in facts.data_kinds:
        if kind not in DATA_KINDS:
            raise DeloresError(f"there is no kind of pre-training data {kind!r}. {did_you_mean(kind, DATA_KINDS)}")
    answers = _answers(submission)
    ticked = {"data": facts.data_kinds, "whole": ("no",) if submission.missing else ("yes",)}
    body, left = fill_template(TEMPLATE if template is None else template, answers, ticked)
    return PullRequest(facts.team, branch_name(facts.team or facts.name), body, left)


def fill_template(
    template: str, answers: Mapping[str, str], ticked: Mapping[str, tuple[str, ...]]
) -> tuple[str, tuple[str, ...]]:
    """The template with answers after its labels and boxes ticked; and the labels that are left to the submitter.

    What stands below the template's rule is the committee's and stays as it is, as do comments and labels that are
    not known. A label is a line in bold with a colon; a bold line without one, TEAM NAME, is the team's name.

    Args:
        answers: by the keys of ``_FIELDS``; "" for what is not known.
        ticked: of a field with check boxes, the words of the boxes to tick.

    Raises:
        DeloresError: no field is found, or one that every template of the site has is absent.
    """
    lines, left, found, field = [], [], set(), ""
    committee = False
    for line in template.splitlines():
        committee = committee or bool(_RULE.fullmatch(line))
        label, box = _LABEL.fullmatch(line.strip()), _BOX.fullmatch(line)
        if committee or (label is None and box is None):
            lines.append(line)
        elif box is not None:
            chosen = box["words"].strip().casefold() in ticked.get(field, ())
            lines.append(f"{box['before']}[x]{box['after']}" if chosen else line)
        elif label is not None:
            colon = bool(label["colon"] or label["after"])
            field = _field(label["label"]) if colon else ""
            text = answers.get(field, "") if colon else ""
            if not colon and _field(label["label"]) == "team" and answers["team"]:
                line = line.replace(label["label"], answers["team"])
            elif field and not label["answer"]:
                line = f"{line.rstrip()} {text}".rstrip()
            lines.append(line)
            found.add(field)
            if colon and not (text or ticked.get(field)) and field != "missing":
                left.append(f"{label['label']} ({_OPTIONS[field]})" if field in _OPTIONS else label["label"])
    if missing := sorted({"team", "name", "url"} - found):
        raise DeloresError(
            f"the template has no field {missing[0]!r}; expected the site's .github/PULL_REQUEST_TEMPLATE.md, where a "
            "label is a line such as **Team Name:**"
        )
    return "\n".join(lines) + "\n", tuple(left)


def _field(label: str) -> str:
    words = " ".join(label.casefold().split())
    return next((key for key, pattern in _FIELDS.items() if re.search(pattern, words)), "")


def _answers(submission: Submission) -> dict[str, str]:
    facts, model = submission.facts, submission.records[0].model
    trained_on = f"Pre-trained on {facts.pretraining_data}." if facts.pretraining_data else ""
    count = model.n_trainable or model.n_parameters  # frozen as a whole: what was trainable once
    answers = {
        "team": facts.team,
        "name": facts.short_name,
        "authors": facts.authors,
        "url": facts.url,
        "paper": facts.paper,
        "description": " ".join([facts.description, trained_on]) if facts.description or trained_on else "",
        "parameters": "" if count is None else f"{count:,}",
        "scene": _size(model.sizes, "scene"),
        "timestamp": _size(model.sizes, "timestamp"),
        "missing": f"{', '.join(submission.missing)}. {facts.why_missing}" if submission.missing else "",
    }
    return {key: " ".join(text.split()) for key, text in answers.items()}


def _size(sizes: Mapping[str, int], kind: str) -> str:
    found = [size for name, size in sizes.items() if kind in name]
    return f"{found[0]:,}" if found else ""


# --- the files


def write_submission(
    submission: Submission, out: str | Path, leaderboard: str | None = None, template: str | None = None
) -> list[Path]:
    """Writes ``leaderboard.csv``, ``PULL_REQUEST.md`` and ``STEPS.md`` into ``out``; returns their paths."""
    text = published_text("leaderboard.csv") if leaderboard is None else leaderboard
    request = pull_request(submission, template)
    contents = {
        "leaderboard.csv": append_row(text, submission.row),
        "PULL_REQUEST.md": request.body,
        "STEPS.md": _steps(submission, request),
    }
    paths = [Path(out) / name for name in contents]
    for path, content in zip(paths, contents.values(), strict=True):
        with atomic_path(path) as temporary:
            temporary.write_bytes(content.encode("utf-8"))
    return paths


def _steps(submission: Submission, request: PullRequest) -> str:
    """How the two other files become a pull request, and how the scores were made, for who is asked."""
    facts, first = submission.facts, submission.records[0]
    scores = dict(zip(submission.header, submission.row, strict=True))
    further = branch_name(f"{facts.team} {facts.short_name}")
    left = "".join(f"- not filled in: {field}\n" for field in request.left) or "Every field is filled in.\n"
    tasks = "\n".join(f"| {column} | {scores[column] or '-'} |" for column in submission.header[3:])
    deviations = sorted({note for record in submission.records for note in record.protocol.deviations})
    notes = "\n".join(f"- {note}" for note in [*deviations, BEEHIVE_RULE])
    return f"""# Submit {facts.row_name}

1. Fork the repository of the HEAR site and make the branch `{request.branch}`, named after the team. A further model
   of the team needs a pull request, and so a branch, of its own, such as `{further}`.
2. Replace `docs/leaderboard.csv` by `leaderboard.csv`: one row is new, with the model named "{facts.row_name}" (the
   team's name and a short name of the model), and every other byte is as it was.
3. Open the pull request with the title "{request.title or "(the team's name)"}" and `PULL_REQUEST.md` as its text. The
   committee fills in what stands below the rule.

## The template

{left}
## How it was run

- Model module `{first.model.module}`, weights {first.model.weights_hash[:16] or "unknown (embeddings of heareval)"}
- Protocol `{first.protocol.title}`, seed {first.seed}, {_versions(submission)}
{notes}

## The row

| task | score |
|---|---:|
{tasks}

```
{",".join(submission.row)}
```
"""


def _versions(submission: Submission) -> str:
    versions = (record.versions for record in submission.records)
    found = {f"hear-delores {own.get('hear-delores', '?')}, torch {own.get('torch', '?')}" for own in versions}
    return " and ".join(sorted(found))
