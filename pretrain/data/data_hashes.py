"""What the files of a corpus held when a run began: a resumed run must not go on with others of the same length.

The hashes are made in the background, while the run trains: a corpus of a terabyte does not keep it waiting. They are
saved beside the training state, as far as they are known by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hear_delores.errors import DeloresError, shown
from hear_delores.files import atomic_path
from pretrain.data.content import Stopped, content_hashes
from pretrain.data.corpus import Corpus

__all__ = ["KEPT", "Contents"]

KEPT = 8  # bytes of each hash: 8 MB for a million files, and no two alike by chance
BATCH = 256  # files that are hashed between two looks at whether to stop
FIRST_SAVE_WAITS_S = 5.0


class Contents:
    """The hashes of a corpus's files, in the order of the corpus, in ``data-hashes.npy`` of the run's folder.

    (n_files, 8) uint8, the first bytes of each SHA-256; zeros where it is not known. Of a pack these are its shards,
    in ``pack-hashes.npy``: a run may go on with the pack of its files.
    """

    def __init__(self, corpus: Corpus, out: Path) -> None:
        self._files, self._out = corpus.files(), out
        stated = corpus.stated_hashes()
        self._path = out / ("data-hashes.npy" if stated is None else "pack-hashes.npy")
        self._digests = np.zeros((len(self._files), KEPT), dtype=np.uint8)
        for row, digest in enumerate(stated or ()):
            self._digests[row] = _row(digest)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="content", daemon=True)
        self._waited = False

    def check(self, progress: Callable[[str, int, int], None]) -> None:
        """Compares the files with what was saved; what was not known then is not compared.

        Raises:
            DeloresError: naming the first file whose content has changed.
        """
        saved = self._saved()
        rows = np.flatnonzero(saved.any(axis=1)).tolist()
        todo = [row for row in rows if not self._digests[row].any()]
        hashes = content_hashes([self._files[row] for row in todo], lambda *done: progress("comparing", *done))
        for row, digest in zip(todo, hashes, strict=True):
            self._digests[row] = _row(digest)
        changed = [row for row in rows if not np.array_equal(saved[row], self._digests[row])]
        if changed:
            others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise DeloresError(
                f"cannot resume {self._out}: {shown(self._files[changed[0]])}{others} changed since the run began. "
                "Put back what was there, or choose another --out"
            )

    def start(self) -> None:
        """Begins to hash what is not known yet."""
        self._thread.start()

    def close(self) -> None:
        """Ends the work, whether it is done or not."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def save(self) -> None:
        """Writes what is known by now; small corpora are given the time to be known whole.

        Raises:
            DeloresError: the disk is full or the folder cannot be written.
        """
        if not self._waited and self._thread.is_alive():
            self._thread.join(FIRST_SAVE_WAITS_S)
        self._waited = True
        with atomic_path(self._path, then="continue with --resume") as temporary, temporary.open("wb") as stream:
            np.save(stream, self._digests)

    def _work(self) -> None:
        todo = np.flatnonzero(~self._digests.any(axis=1)).tolist()
        for first in range(0, len(todo), BATCH):
            rows = todo[first : first + BATCH]
            try:
                hashes = content_hashes([self._files[row] for row in rows], threads=1, stop=self._stop)
            except Stopped:
                return
            for row, digest in zip(rows, hashes, strict=True):
                self._digests[row] = _row(digest)

    def _saved(self) -> np.ndarray:
        """As :meth:`save` wrote it; all unknown where there is nothing, as with the runs of earlier versions."""
        try:
            saved = np.load(self._path, allow_pickle=False)
            if (saved.shape, saved.dtype) == (self._digests.shape, self._digests.dtype):
                return saved
        except (OSError, ValueError, EOFError, AttributeError):  # AttributeError: an archive of arrays
            pass
        return np.zeros_like(self._digests)


def _row(digest: bytes | None) -> np.ndarray:
    return np.frombuffer((digest or bytes(KEPT))[:KEPT], dtype=np.uint8)
