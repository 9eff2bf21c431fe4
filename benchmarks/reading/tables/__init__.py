"""Comparison tables in every format."""
