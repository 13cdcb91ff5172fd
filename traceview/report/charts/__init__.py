"""Charts of an analysis and of a comparison, as altair specifications over small tables."""
