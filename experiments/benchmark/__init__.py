"""The benchmark against PyTorch: both implementations of the same training, and how its cost grows."""
