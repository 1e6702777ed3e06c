"""Capacity planning from a measured deployment."""

from autotune.plan.capacity import parse_demand, plan

__all__ = ["parse_demand", "plan"]
