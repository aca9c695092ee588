"""Files for what pulls behind the gap: where images are now, and what must be said of them."""
