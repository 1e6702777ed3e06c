"""Capacity planning from a measured deployment."""

from autotune.plan.capacity import METHOD, Demand, Plan, parse_demand, plan

__all__ = ["METHOD", "Demand", "Plan", "parse_demand", "plan"]
