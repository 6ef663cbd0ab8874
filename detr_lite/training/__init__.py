"""Training: recipes, their phases, and the runs that carry them out."""
