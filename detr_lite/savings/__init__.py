"""Savings that the chapters leave out: the same answers for less."""
