"""``python -m benchmarks`` is the command ``delores``."""

from hear_delores.siblings import delores

if __name__ == "__main__":
    delores()
