"""Learners: scikit-learn estimators for tables, made of the library's parts."""
