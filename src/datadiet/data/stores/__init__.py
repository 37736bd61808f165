"""Encoded examples in memory or streamed, their order, and batches of them."""
