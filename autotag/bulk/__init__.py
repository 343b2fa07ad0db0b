"""Bulk runs: tags that were computed elsewhere, loaded from files. Imports stores and what is below them."""
