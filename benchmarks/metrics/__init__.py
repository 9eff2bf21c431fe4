"""Metrics as pure functions: predictions and truth in, numbers out."""
