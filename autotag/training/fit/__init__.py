"""From a snapshot to classifiers: sums, solution, calibration, candidate bundle.

Imports training.dataset and the layers below it (tests/test_layers.py).
"""
