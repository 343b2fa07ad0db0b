"""From a snapshot to classifiers: sums, solve, calibration, candidate bundle. Imports training.dataset and what is below it."""
