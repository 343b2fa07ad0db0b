"""Tagging photos with a bundle, changing the bundle over while it runs, and evaluating it.

Imports bundles and the layers below it (tests/test_layers.py).
"""
