"""Where images come from: registries over HTTP, and OCI layouts in a folder or tar."""
