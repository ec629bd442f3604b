"""The decoding process: jobs in, messages out."""
