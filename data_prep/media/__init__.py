"""What a file holds and when, from its first bytes, header and packets; the home of PyAV."""
