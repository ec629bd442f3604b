"""Audio path: front ends (waveform, log-mel, pretrained) and the strided Conv1D encoder."""
