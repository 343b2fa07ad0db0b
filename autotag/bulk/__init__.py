"""Bulk runs: tags that were computed elsewhere, loaded from files into the store.

Imports stores and the layers below it (tests/test_layers.py).
"""
