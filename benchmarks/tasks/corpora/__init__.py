"""From raw audio to a HEAR task folder: one small module per kind of corpus, all through ``tasks.writer``."""

from benchmarks.tasks.corpora.preparation import PrepareReport
from benchmarks.tasks.corpora.raw_corpus import prepare_corpus

__all__ = ["PrepareReport", "prepare_corpus"]
