"""Protocols whose classifier learns how to pool the timestamp embeddings of a clip."""
