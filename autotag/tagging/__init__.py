"""Tags photos with a bundle, and changes the bundle over while it runs. Imports bundles, stores, photos and what is below them."""
