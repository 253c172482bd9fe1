"""Evaluators: candidates to rewards, votes and searches."""
