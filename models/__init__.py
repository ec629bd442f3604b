"""From arrays to logits: frame encoder, audio encoder, temporal models, classifier. Does no I/O.

Shape legend: B batch, T time step (frame), C channel, H W pixels, S audio samples, M mel frames,
D features, K classes.
"""
