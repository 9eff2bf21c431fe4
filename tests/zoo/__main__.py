"""``python -m tests.zoo``: runs the zoo, or one kind or case of it, and prints a table of verdicts.

python -m tests.zoo                               all of it
python -m tests.zoo --kind audio --list           the cases of a kind, numbered
python -m tests.zoo --kind audio --case 17 --keep DIR   one case, its folder kept
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

__all__ = ["main"]


def main() -> int:
    """Runs what the command line asks for; the exit code is 1 where a case failed."""
    options = _options()
    from tests.zoo.kinds import KINDS, all_cases
    from tests.zoo.report import Tally
    from tests.zoo.run import run_zoo

    cases = [case for case in all_cases() if not options.kind or case.kind in options.kind]
    if unknown := set(options.kind) - set(KINDS):
        sys.exit(f"no kind {unknown.pop()!r}; there are: {', '.join(KINDS)}")
    numbered = [(number, case) for number, case in enumerate(cases) if not options.case or number in options.case]
    if options.match:
        numbered = [(number, case) for number, case in numbered if options.match in case.name]
    if options.list:
        for number, case in numbered:
            print(f"{number:4} {case.kind}: {case.name} ({case.expect.name})")
        return 0
    tally, began = Tally(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="zoo-") as temporary:
        root = Path(options.keep or temporary).resolve()
        root.mkdir(parents=True, exist_ok=True)
        chosen = [case for _, case in numbered]
        for end, verdict in run_zoo(chosen, root, options.seed, workers=options.workers, keep=bool(options.keep)):
            tally.add(end, verdict)
            if not verdict.passes or options.verbose:
                print(f"{verdict.word}: {end.case.kind}: {end.case.name}: {verdict.why}", flush=True)
    tally.disagreements()
    seconds = time.monotonic() - began
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(tally.table(seconds))
    print(f"{sum(item.ru_utime + item.ru_stime for item in used):.0f} s of processor time")
    if options.failures:
        Path(options.failures).write_text(tally.failures_text())
    if options.json:
        Path(options.json).write_text(json.dumps(tally.to_json(seconds), indent=1))
    return int(tally.failed > 0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.zoo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kind", action="append", default=[], help="only this kind; repeat for more")
    parser.add_argument(
        "--case", action="append", type=int, default=[], help="only the case of this number (see --list)"
    )
    parser.add_argument("--match", default="", help="only cases whose name holds this")
    parser.add_argument("--seed", type=int, default=0, help="of every random change")
    parser.add_argument("--workers", type=int, default=2, help="processes side by side")
    parser.add_argument("--keep", help="a folder in which the folders of all cases stay")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--verbose", action="store_true", help="print each verdict")
    parser.add_argument("--failures", help="write the failing cases to this file (Markdown)")
    parser.add_argument("--json", help="write all verdicts to this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
