"""The page that shows how good each class is.

Imports training.fit and the layers below it (tests/test_layers.py).
"""
