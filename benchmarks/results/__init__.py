"""The record between measuring and reading: its format, its checks, and which model it is of."""
