"""From packets to square frames at given times: plans, readers, resizing."""
