"""From raw audio to a HEAR task folder: one small module per kind of corpus, all through ``tasks.writer``."""

from benchmarks.tasks.corpora.corpus import CorpusReport, prepare_corpus

__all__ = ["CorpusReport", "prepare_corpus"]
