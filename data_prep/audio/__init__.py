"""From a sound track to mono samples in step with the frames."""
