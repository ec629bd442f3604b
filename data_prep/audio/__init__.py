"""Decode an audio track to mono samples aligned with the video frames."""
