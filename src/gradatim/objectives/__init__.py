"""Objectives: outputs and targets in, a loss out; pure functions with ``reduction=``."""
