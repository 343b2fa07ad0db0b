"""Training: photos and people's labels to classifiers, by way of a training set that is kept and grows."""
