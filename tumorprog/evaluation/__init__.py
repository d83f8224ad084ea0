"""Tables of predictions to numbers with intervals, and the baselines beside them."""
