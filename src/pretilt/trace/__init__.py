"""From a hypothesis to the pairs and tokens behind it, and from a pair to what it teaches."""
