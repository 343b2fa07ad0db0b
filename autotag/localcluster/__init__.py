"""Real ZooKeeper, Storm and HBase on this machine. Imports errors and settings."""
