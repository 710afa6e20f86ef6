"""Data: sources, host preparation, device augmentation, stateless order."""
