"""Checked input from users: CSV, YAML, command-line options and settings."""
