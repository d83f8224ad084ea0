"""Graders predict the grade of a slice; `resnet18` is the one grader, `training` trains it, `votes` combines slices.

The contract of a grader is `build(weights, seed)`, which returns a network from normalised images to the logits of the
grades; `probabilities`, which applies it; `grad_cam`, which shows its evidence; and `DESCRIPTION`, which is saved with
every model.
"""
