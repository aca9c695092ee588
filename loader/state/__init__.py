"""What the host remembers: floors and the ledger of attempts."""
