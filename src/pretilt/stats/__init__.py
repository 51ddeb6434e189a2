"""What the labels select: disparities, groups of pairs, contrasts, ranked hypotheses, and the pairs responsible."""
