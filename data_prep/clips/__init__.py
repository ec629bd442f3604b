"""Decode one file to clip chunks of aligned video and audio, and report how much was read."""
