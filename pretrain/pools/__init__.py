"""Pools for pre-training that anyone can make again: freely licensed audio of packages, and what is rendered."""
