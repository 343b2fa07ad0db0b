"""Work over a whole corpus in resumable pieces, on this machine or on Spark.

Imports tagging and the layers below it (tests/test_layers.py).
"""
