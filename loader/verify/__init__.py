"""One cryptographic fact a module, and the procedure over them."""
