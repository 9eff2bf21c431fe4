"""The checks of the HEAR API, by subject."""
