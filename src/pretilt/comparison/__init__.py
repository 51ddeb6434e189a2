"""Two audits side by side: what the labels of one dataset select that those of another do not."""
