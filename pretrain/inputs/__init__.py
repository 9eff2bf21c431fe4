"""What users write, read and checked at the door: CSV, YAML, options and settings."""
