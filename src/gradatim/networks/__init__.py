"""Network blocks and small reference networks."""
