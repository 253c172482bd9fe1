"""Recipes: training procedures made of parts, each ready for :func:`gradatim.training.fit.fit`."""
