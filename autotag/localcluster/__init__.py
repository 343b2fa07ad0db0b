"""Real ZooKeeper, Storm and HBase on this machine, under process supervision.

Imports settings and the layers below it (tests/test_layers.py).
"""
