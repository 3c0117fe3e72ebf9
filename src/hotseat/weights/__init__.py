"""Model weights: which files a model needs, which are on disk, and their download."""
