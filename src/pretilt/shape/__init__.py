"""From a decision about a concept to actions on pairs, and what they would change, before any training."""
