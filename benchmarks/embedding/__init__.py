"""Any HEAR model behind one adapter, and its embeddings on disk."""
