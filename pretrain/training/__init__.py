"""The pre-training loop and its state."""
