"""Files of weights: read, written, renamed, adapted, known by name."""
