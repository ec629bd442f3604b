"""From decoded clips to features: what runs the frame encoder, and the engine around it."""
