"""Classifiers, one per file: from an image to features and 10 digit logits.

A class is constructed with `(config, rngs)`; its attribute `features` is the width of its features. Their names are in
`mnistsum.registry`.
"""
