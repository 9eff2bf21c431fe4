"""Checkpoints on the Hugging Face Hub: the model card with its scores, and the upload."""
