"""Bundles: built, published, fetched, and which one is current for all hosts. Imports stores, photos and what is below them."""
