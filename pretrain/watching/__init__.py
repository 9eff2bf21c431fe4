"""What a person sees of a run: progress, pictures, probes, collapse warnings."""
