"""Fingerprints that identify a recording by its content: motion signatures and audio hashes."""
