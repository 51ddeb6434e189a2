"""The lens floor: subject model + layer + dictionary, the one measurement, the harvest and its store.

Importing this package loads nothing heavy; its modules load torch, and are imported inside the steps that need them.
"""
