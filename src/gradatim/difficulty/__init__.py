"""Difficulty scores: one number an example, higher is harder."""
