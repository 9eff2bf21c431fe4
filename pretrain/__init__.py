"""Pre-training of DeLoRes-S and DeLoRes-M: from audio files to a checkpoint that ``hear_delores`` loads.

``pretrain.config.load_config`` and ``pretrain.training.start.pretrain`` are the two that a program needs. They are not
imported here: the command line reads this package for its help alone, and torch takes seconds to import.
"""
