"""Whole jobs, one for each command that measures: tune, measure, load and export a model."""
