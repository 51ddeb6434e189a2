"""The version of the package: hatch reads it from here, so that it can be had without the package itself."""

__version__ = "0.1.0"
