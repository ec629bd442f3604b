"""Read video frames at given times: decode plans, frame readers, resizing to a square."""
