"""From registry to registry: `airlock promote`."""
