"""Selection: a pool and a budget in, chosen indices out."""
