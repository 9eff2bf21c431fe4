"""From raw audio to a HEAR task folder: one small module per kind of corpus, all through ``tasks.writer``."""
