"""What images are handed to, each through its own client."""
