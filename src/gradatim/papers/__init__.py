"""One module a paper: its claims, and the study that puts them to the test."""
