"""``python -m benchmarks`` is the command ``delores``."""

from benchmarks.cli import main

main()
