"""Embeddings: encoded once, kept in a cache, held as tensors."""
