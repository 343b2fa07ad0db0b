"""From a photo's URI to the pixels that a network wants. Imports errors and settings."""
