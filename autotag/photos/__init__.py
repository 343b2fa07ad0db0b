"""Fetching and decoding: from a photo's URI to the pixels that a network wants.

Imports settings and the layers below it (tests/test_layers.py).
"""
