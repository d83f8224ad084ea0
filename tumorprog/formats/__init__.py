"""Image files: `reading` is the contract of formats, from a file to rows and from a row to an array; `dicom` is one."""
