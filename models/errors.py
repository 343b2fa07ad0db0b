"""The one error of the arithmetic layer."""


class ModelError(Exception):
    """A bundle, bank, network or weight file is not what it should be. The message names the file."""
