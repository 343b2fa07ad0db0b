"""Files and folders at any URL, text lines, Parquet, SQLite files and locks.

Imports errors and the layers below it (tests/test_layers.py).
"""
