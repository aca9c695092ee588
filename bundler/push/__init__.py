"""`airlock-push`: what the loader starts, after its verdict, to write to a registry."""
