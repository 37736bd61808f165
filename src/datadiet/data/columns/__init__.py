"""Which columns of a source are what, and what stands in them."""
