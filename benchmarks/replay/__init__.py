"""Measured tables of whole search spaces, and the real search replayed against them."""
