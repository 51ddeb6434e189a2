"""Detectors: directions and probes over the residual stream, fitted to examples of a trait and judged by a card."""
