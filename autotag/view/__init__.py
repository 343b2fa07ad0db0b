"""The rule of what readers see: a pure function of all writes about a photo. Imports errors, events and models; no storage."""
