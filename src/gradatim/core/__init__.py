"""Shared foundations: data, randomness, statistics, search, storage and validation."""
