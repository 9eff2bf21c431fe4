"""The result record, which scoring writes and reading reads: its format, its checks, and its model."""
