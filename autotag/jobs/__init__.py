"""Work on many photos, on one machine or on Spark: a function over pieces of it, each done and kept by itself."""
