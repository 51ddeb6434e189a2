"""The static pages: the report of an audit and the verification."""
