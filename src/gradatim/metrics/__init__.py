"""Metrics: predictions in, figures out."""
