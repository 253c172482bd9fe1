"""Mining: embeddings, labels, corpora, or what a model samples, to what is worth learning from."""
