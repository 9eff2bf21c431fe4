"""The report: one self-contained HTML page of result records, embeddings and pre-training logs."""
