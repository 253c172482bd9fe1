"""Language models: one small interface, loading, batched sampling, sequence log-probabilities."""
