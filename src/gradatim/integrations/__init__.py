"""Adapters: curricula in the trainers of other libraries, one line each."""
