"""Methods that find the region of interest of a slice: `brightest` and `component`; and how well they match masks.

The contract is a function from a slice, (H, W) of any real dtype, to a mask, (H, W) bool; `methods.REGIONS` lists them.
"""
