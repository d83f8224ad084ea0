"""Heads predict progression from the feature vectors of a series; `bilstm` is the one head, `fitting` trains it.

The contract of a head is a network from padded series of vectors and their lengths to one output (months) or to one for
each interval of time (`hazard`), which holds the scales of its inputs and outputs; `predict_months` and
`predict_log_odds`, which apply it; and `load`, which checks that it fits the encoder's options.
"""
