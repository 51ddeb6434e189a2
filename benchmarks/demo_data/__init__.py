"""How the bundled planted sets and the text of the bundled dictionary were made: not part of the package."""
