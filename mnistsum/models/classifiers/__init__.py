"""Classifiers, a file each: an image to features and 10 digit logits.

A class is built as `(config, rngs)`; its attribute `features` is how wide its features are. `mnistsum.registry` gives
them their names.
"""
