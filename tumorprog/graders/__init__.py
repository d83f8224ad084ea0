"""Graders predict the grade of a slice; `resnet18` is the one grader, `training` trains it, `votes` combines slices.

The contract of a grader is `build(weights, seed)`, which returns a network from normalised images to the logits of the
grades; `normalise`, which prepares images for it; `load`, `probabilities` and `grad_cam`, which apply a trained
network; and `DESCRIPTION`, which is saved with every model.
"""
