"""From samples to one vector per time step: front ends and the strided convolution stack."""
