"""Some thousand mutated inputs and eighty interruptions, each with the one right end. How to run it: :mod:`tests.zoo.__main__`.

Importing this package sets one thread for numpy and torch, which must not have been loaded: its parent process forks.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.pop("DELORES_TRACEBACK", None)
