"""From features to concepts: communities of features that fire together, single features, and names for both."""
