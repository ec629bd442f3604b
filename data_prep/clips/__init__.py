"""From one file to clip chunks: frames and sound in their place, and how much was read."""
