"""Bundles: building, publishing and downloading them, and the registry of which one is current for all hosts.

Imports stores and the layers below it (tests/test_layers.py).
"""
