"""The command line: one small module a command; only here is anything printed and the process ended."""

from autotune.cli.app import main

__all__ = ["main"]
