"""What each sequence shows, for readers of the report who are no radiologists."""

GLOSSARY = {
    "T1pre": "T1-weighted, before the contrast agent: anatomy; fluid and most tumours are dark.",
    "T1post": "T1-weighted, after a gadolinium contrast agent: bright where the blood-brain barrier leaks, as in the "
    "enhancing part of high-grade gliomas; vessels are bright, too.",
    "dT1": "T1post minus T1pre: what the contrast agent adds, without tissue that is bright already before it.",
    "FLAIR": "T2-weighted with the signal of free fluid suppressed: oedema and infiltrating tumour are bright.",
    "T2": "T2-weighted: fluid, oedema and most tumours are bright.",
    "ADC": "apparent diffusion coefficient: how freely water moves; low in tissue with densely packed cells, high in "
    "oedema and necrosis.",
    "nCBF": "cerebral blood flow, normalised to healthy tissue: blood per time, from dynamic perfusion imaging.",
    "nRCBV": "relative cerebral blood volume, normalised to healthy tissue: high where a tumour has grown vessels.",
    "sRCBV": "relative cerebral blood volume, standardised to a scale that is the same for all scans.",
    "mask": "MaskTumor: the outline of the tumour that comes with the data, 1 inside and 0 outside; not an image.",
    "other": "a series that texts and acquisition parameters assign to none of these sequences.",
}
"""A line for each of `conventions.SEQUENCES`, and for masks."""
