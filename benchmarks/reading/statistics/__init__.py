"""Intervals, paired tests and comparisons of result records."""
