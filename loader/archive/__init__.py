"""The archive `airlock-bundle` version 1: record headers, the strict reader."""
