"""Workflows: the jobs of users as functions; data in, a result object out."""
