"""The rule of what readers see: a pure function of all writes about a photo, without any storage.

Imports events and the layers below it (tests/test_layers.py).
"""
