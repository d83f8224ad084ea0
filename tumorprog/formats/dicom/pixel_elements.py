"""Elements that define the meaning of a stored value, and how tumorprog handles each of them.

Reviewed modules of the standard: Image Pixel (PS3.3 C.7.6.3), General Image (C.7.6.1), MR Image (C.8.3.1), Enhanced MR
Image (C.8.13), Pixel Value Transformation and Real World Value Mapping (C.7.6.16.2), Modality LUT (C.11.1), VOI LUT
(C.11.2).
"""

READ = {
    "SamplesPerPixel": "1, otherwise the file is quarantined as `colour`",
    "PhotometricInterpretation": "MONOCHROME1 is inverted within its own range; PALETTE COLOR is quarantined",
    "NumberOfFrames": "one row of the catalogue per frame",
    "Rows": "of a frame",
    "Columns": "of a frame",
    "BitsAllocated": "bits allocated for each value",
    "BitsStored": "bits that belong to the value; the others (overlays) are masked out",
    "HighBit": "the highest of these bits: values are shifted down to bit 0; an impossible one is ignored",
    "PixelRepresentation": "unsigned, or two's complement",
    "PixelPaddingValue": "padding: excluded from the percentiles and black in the result; compared before rescaling",
    "PixelPaddingRangeLimit": "the other end of a range of padding values, above or below",
    "FloatPixelPaddingValue": "as PixelPaddingValue, for float pixels",
    "FloatPixelPaddingRangeLimit": "as PixelPaddingRangeLimit, for float pixels",
    "DoubleFloatPixelPaddingValue": "as PixelPaddingValue, for double float pixels",
    "DoubleFloatPixelPaddingRangeLimit": "as PixelPaddingRangeLimit, for double float pixels",
    "RescaleSlope": "applied; per frame in an enhanced object",
    "RescaleIntercept": "applied in the same way",
    "ModalityLUTSequence": "not used in MR (C.8.3.1): a file with one is quarantined, as it redefines the values",
}
"""Elements that determine the pixel values, by keyword."""

IGNORED = {
    "RescaleType": "units; images are scaled by their own percentiles",
    "WindowCenter": "display only",
    "WindowWidth": "display only",
    "VOILUTSequence": "display only",
    "VOILUTFunction": "display only",
    "PresentationLUTShape": "display only; INVERSE accompanies MONOCHROME1, which is inverted",
    "RealWorldValueMappingSequence": "units of measurement; images are scaled by their own percentiles",
    "PixelIntensityRelationship": "for projection radiography; not used in MR",
    "PixelIntensityRelationshipSign": "for projection radiography; not used in MR",
    "SmallestImagePixelValue": "derived from the pixel values, which are used instead",
    "LargestImagePixelValue": "derived from the pixel values, which are used instead",
    "SmallestPixelValueInSeries": "derived from the pixel values, which are used instead",
    "LargestPixelValueInSeries": "derived from the pixel values, which are used instead",
    "PlanarConfiguration": "for several samples per pixel, which are quarantined",
    "PixelAspectRatio": "images are always resized to a square, as in the paper; volumes use PixelSpacing",
    "LossyImageCompression": "the loss cannot be undone",
    "BurnedInAnnotation": "text in the image cannot be distinguished from it",
    "RedPaletteColorLookupTableDescriptor": "PALETTE COLOR is quarantined",
    "PixelPresentation": "display only; true colour of an enhanced object is quarantined by its samples",
    "ICCProfile": "colour display only",
    "OverlayData": "display only; unused bits that contain an overlay are masked out",
}
"""Elements that are not used, and why."""
