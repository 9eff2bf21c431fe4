"""Pools for pre-training that anyone can make again: freely licensed recordings of packages, and rendered sounds."""
