"""Segmenters find the tumour in the slices of a stack; `unet` is the one segmenter, `training` trains it.

`stacks` prepares the slices of a stack as input and returns predictions to the grid of the slices.
"""
