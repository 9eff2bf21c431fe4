"""Audio files to batches."""
