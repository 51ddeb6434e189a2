"""Labels that a person can trust: short names for concepts, groups and hypotheses, each with a held-out score.

A label is made from texts of one half of the families and scored on texts of the other half: how well does somebody
who knows the label alone tell the texts that show the concept from those that do not? No statistic reads a label.
"""
