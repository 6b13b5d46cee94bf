"""The benchmark beside PyTorch: both implementations of the same training, and how its cost grows."""
