"""A DEM with error bars from detection statistics. Nothing is public yet."""
