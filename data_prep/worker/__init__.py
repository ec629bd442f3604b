"""The decoding worker process and its message protocol."""
