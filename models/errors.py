"""The one error of the arithmetic layer."""


class ModelError(Exception):
    """A bundle, bank, network or file of weights is missing or malformed. The message names the file."""
