"""What a run costs and what a model does, computed without training."""
