"""The training set: photos, features, labels, and the snapshot that a training reads.

Imports jobs and the layers below it (tests/test_layers.py).
"""
