"""The training set: photos, features, labels, and the snapshot that a training reads. Imports jobs and what is below them."""
