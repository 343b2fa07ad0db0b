"""Training: the data set, the fit, and the report."""
