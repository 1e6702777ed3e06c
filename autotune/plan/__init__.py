"""Capacity planning from a measured deployment."""

from autotune.plan.capacity import METHOD, Plan, plan
from autotune.plan.demand import Demand, parse_demand

__all__ = ["METHOD", "Demand", "Plan", "parse_demand", "plan"]
