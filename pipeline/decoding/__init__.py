"""Decoding processes seen from the program: started, watched, replaced; the frames they lend."""
