"""The view: the rule by which all writes about a photo become what readers see. It stores nothing.

Imports events and the layers below it (tests/test_layers.py).
"""
