"""What all comparisons share."""

RANDOM, UNTRAINED = "random order", "no training"
QUIET = {"report_to": [], "save_strategy": "no", "logging_strategy": "no", "disable_tqdm": True}
