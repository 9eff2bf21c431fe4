"""How a model is measured: audio, embeddings on disk, metrics, event scoring and the shallow classifiers."""
