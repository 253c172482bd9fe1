"""Targets: teachers, ensembles and a model's past self give soft labels and pseudo-labels."""
