"""Tasks: their registry, HEAR task folders on disk, and how a raw corpus becomes one."""
