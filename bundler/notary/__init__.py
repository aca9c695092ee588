"""Docker Content Trust on the connected side: fetched from servers and caches, shown to people."""
