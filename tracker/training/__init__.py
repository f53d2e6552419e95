"""Training of the landmark networks: ``python -m tracker.training --help``. Needs the extra ``train``."""
