"""What is measured: the registry of tasks, HEAR task folders, and what turns a raw corpus into one."""
