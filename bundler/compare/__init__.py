"""Two images side by side: `airlock compare`, and two bundles: `airlock diff`."""
