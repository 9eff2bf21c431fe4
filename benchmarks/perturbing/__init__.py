"""What is done to test clips to see how far a score depends on clean recordings: noise, rooms, bands, codecs."""
