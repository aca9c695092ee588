"""The connected side: fetches images and their evidence, judges them, seals one archive."""
