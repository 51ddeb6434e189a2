"""What a person sees: the terminal summary, the pre-flight lines and the offline page. Reads artifacts only."""
