"""Runs of a model from its first intervention on; README.md in this folder says how."""
