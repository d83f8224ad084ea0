"""What the standard's modules say of the meaning of a stored value, and what is done with each element here.

Gone through: Image Pixel (PS3.3 C.7.6.3), General Image (C.7.6.1), MR Image (C.8.3.1), Enhanced MR Image (C.8.13),
Pixel Value Transformation and Real World Value Mapping (C.7.6.16.2), Modality LUT (C.11.1), VOI LUT (C.11.2).
"""

READ = {
    "SamplesPerPixel": "1, else the file is quarantined as `colour`",
    "PhotometricInterpretation": "MONOCHROME1 is turned over within its own range; PALETTE COLOR is quarantined",
    "NumberOfFrames": "a row of the catalogue for each frame",
    "Rows": "of a frame",
    "Columns": "of a frame",
    "BitsAllocated": "width of the word in which a value stands",
    "BitsStored": "bits of the word that are the value's; the others (overlays) are masked out",
    "HighBit": "where these bits end: values are shifted down to bit 0; an impossible one is ignored",
    "PixelRepresentation": "unsigned, or two's complement",
    "PixelPaddingValue": "no image: left out of the percentiles and black in the result; compared before rescaling",
    "PixelPaddingRangeLimit": "the other end of a range of such values, on either side",
    "FloatPixelPaddingValue": "as PixelPaddingValue, of float pixels",
    "FloatPixelPaddingRangeLimit": "as PixelPaddingRangeLimit, of float pixels",
    "DoubleFloatPixelPaddingValue": "as PixelPaddingValue, of double float pixels",
    "DoubleFloatPixelPaddingRangeLimit": "as PixelPaddingRangeLimit, of double float pixels",
    "RescaleSlope": "applied, a frame's own in an enhanced object",
    "RescaleIntercept": "applied, likewise",
    "ModalityLUTSequence": "MR has none (C.8.3.1): a file with one is quarantined, its values mean something else",
}
"""Elements that decide what is read, by keyword."""

LEFT_ALONE = {
    "RescaleType": "units; images are scaled by their own percentiles",
    "WindowCenter": "display only",
    "WindowWidth": "display only",
    "VOILUTSequence": "display only",
    "VOILUTFunction": "display only",
    "PresentationLUTShape": "display only; INVERSE goes with MONOCHROME1, which is turned over",
    "RealWorldValueMappingSequence": "units of measurements; images are scaled by their own percentiles",
    "PixelIntensityRelationship": "of projection radiography; MR has none",
    "PixelIntensityRelationshipSign": "of projection radiography; MR has none",
    "SmallestImagePixelValue": "a statement about the values; the values are looked at",
    "LargestImagePixelValue": "a statement about the values; the values are looked at",
    "SmallestPixelValueInSeries": "a statement about the values; the values are looked at",
    "LargestPixelValueInSeries": "a statement about the values; the values are looked at",
    "PlanarConfiguration": "of several samples a pixel, which are quarantined",
    "PixelAspectRatio": "images are brought to a square in any case, as in the paper; volumes use PixelSpacing",
    "LossyImageCompression": "the loss cannot be undone",
    "BurnedInAnnotation": "text in the image cannot be told from it",
    "RedPaletteColorLookupTableDescriptor": "PALETTE COLOR is quarantined",
    "PixelPresentation": "display only; true colour of an enhanced object is quarantined by its samples",
    "ICCProfile": "display of colours only",
    "OverlayData": "display only; where it lies in unused bits these are masked out",
}
"""Elements that are not read, and why."""
