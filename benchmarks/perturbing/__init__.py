"""Perturbations of test clips (noise, rooms, bands, codecs), which show how far a score depends on clean recordings."""
