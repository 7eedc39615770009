"""How far estimated depth can be believed: metrics, data sets, tables."""
