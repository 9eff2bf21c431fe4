"""Sounds made of parameters alone: an endless stream of them, in batches, on the device that trains."""
