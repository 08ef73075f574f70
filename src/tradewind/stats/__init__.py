"""Arrays in, estimates out: intervals, experiment statistics, ranking metrics. Knows no shop and no table."""
