"""The train floor: the pairs of a run through TRL's own `DPOTrainer`, nothing of its loss rewritten.

The only floor that imports trl. Importing this package loads nothing heavy: `dpo.py` is light, and loads the rest when
it trains.
"""
