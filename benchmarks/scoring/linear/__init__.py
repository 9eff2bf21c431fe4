"""Protocol ``linear``: one linear layer on frozen embeddings."""
