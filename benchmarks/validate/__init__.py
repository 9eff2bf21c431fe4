"""The HEAR common API as a test suite that any model must pass."""

from benchmarks.validate.report import to_json, to_junit
from benchmarks.validate.suite import CHECKS, Check, Finding, Outcome, explain, validate

__all__ = ["CHECKS", "Check", "Finding", "Outcome", "explain", "to_json", "to_junit", "validate"]
