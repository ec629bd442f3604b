"""Which pictures are decoded for the time steps, and how each way reads and squares them."""
