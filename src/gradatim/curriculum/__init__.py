"""Curricula: difficulty and progress give an order, probabilities, weights or a budget."""
