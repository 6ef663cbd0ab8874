"""What the notebooks need: build cells, faults, exercises, plots."""
