"""Capacity planning from a measured deployment."""
