"""The words by which scanners and people name kinds of images: patterns for texts as `contrast.upper` gives them."""

import re


def _words(*alternatives: str) -> re.Pattern[str]:
    """Matches any of them, unless letters go on before or after: "LOC" in "AX LOC", not in "VELOCITY"."""
    return re.compile(rf"(?<![A-Z])(?:{'|'.join(alternatives)})(?![A-Z])")


MASK = _words(
    "MASKTUMOU?R",
    "(?:TUMOU?R|LESION|GLIOMA|ROI) ?MASKS?",
    "MASKS? TUMOU?R",
    "TUMOU?R ?SEG[A-Z]*",
    "SEGMENTATIONS?",
    "SEGMENTED",
)
BARE_MASK = _words("MASKS?")
ANGIOGRAM = re.compile(
    r"ANGIO|TRICKS|TWIST|CARE ?BOLUS|BOLUS|(?<![A-Z])(?:CE-?MRA|MRA|MRV|TOF|KEYHOLE|4D-?TRAK|INHANCE)"
    r"(?![A-Z])|(?<![A-Z])PERF|(?<![A-Z])(?:BRAIN|HEAD|FACE|SKULL|GM|WM|CSF|CE|DYN[A-Z]*|FL[23]D[A-Z0-9]*)[ -]?MASK"
)
SUBTRACTION = re.compile(
    r"SUBTR|SOUSTR|SUSTRAC|SOTTRA|(?<![A-Z])(?:SUB(?![ -]?(?:MILL|MM)| ?-?[0-9]{2}|-[A-Z]*[0-9])|SUBS|RESTA)(?![A-Z])"
    r"|(?:POST|(?<![A-Z])(?:GD|GAD|C))[^-]*(?<=[ A-Z0-9])(?:-|MINUS)[^-]*(?:PRE(?![A-Z])|NATIV|W/O)"
    r"|C\+ ?(?:-|MINUS) ?(?:T1 ?)?C-|T1 ?W?-?(?:CE|C\+?|GD|KM|POST) ?(?:-|MINUS) ?T1"
)
DELTA = re.compile(r"(?<![A-Z0-9])(?:D ?T1(?![0-9])|DELTA[ -]?T1)")

# In the order in which they are asked: what a word means can depend on the words above it.
KINDS: tuple[tuple[str, tuple[re.Pattern[str], ...]], ...] = (
    ("mask", (MASK,)),
    (
        "localizer",
        (
            _words(
                "LOC", "LOCALI[SZ](?:ERS?|ATION)", "LOKALISER", "SCOUTS?", "SURVEY", "PILOT", "TOPOGRAM", "SCANOGRAM"
            ),
            _words(
                "(?:3|THREE|TRI)[- ]?PL(?:ANE)?", "AAHEAD ?SCOUT", "AAHSCOUT", "REPERAGE", "LOCALIZADOR", "SMARTBRAIN"
            ),
        ),
    ),
    ("nRCBV", (_words("NRCBV", "NORMALI[SZ]ED RCBV"),)),
    ("sRCBV", (_words("SRCBV", "STANDARDI[SZ]ED RCBV"),)),
    ("nCBF", (_words("NCBF", "NORMALI[SZ]ED CBF"),)),
    (
        "other",  # an exponential ADC, which is no ADC
        (
            re.compile(
                r"(?<![A-Z])(?:E|EXP)[ -]?ADC|(?<![A-Z])EXP[A-Z]*[ -]+(?:ADC|APPARENT|DIFF|ATTEN)|ATTENUATION COEFF"
            ),
        ),
    ),
    (
        "ADC",
        (
            _words("[DS]?ADC ?(?:MAPS?|KARTE)?", "APPARENT DIFFUSION COEFFICIENT", "(?:AVERAGE|AVG|AVE) ?(?:DC|ADC)"),
            _words("ISO(?:TROPIC)? ?ADC", "DC MAP", "ADC[A-Z]*"),
        ),
    ),
    (
        "other",  # diffusion and perfusion, vessels, function, spectra
        (
            re.compile(
                r"DWI|DTI|DIFF|TRACE|T2 ?\*|T2[ -]?STAR|PERF|SPECTRO|ANGIO|FMRI|BOLD|FIELD ?MAP|TENSOR|TRICKS|TWIST"
            ),
            _words(
                "E?SWI", "E?SWAN[A-Z]*", "SWIP", "MRA", "MRV", "TOF", "DSC", "DCE", "PWI", "MRS", "R?CBV", "CBF", "MTT"
            ),
            _words(
                "TTP", "TMAX", "KTRANS", "ASL", "P?C?ASL", "DKI", "HARDI", "IVIM", "NODDI", "PCA", "CSI", "SVS", "PRESS"
            ),
            _words(
                "VENO(?:BOLD)?", "B ?[0-9]{3,4}", "C?FA", "COL(?:OU?R)? ?FA", "FRACTIONAL ANISO[A-Z]*", "MD", "RD", "AD"
            ),
            _words(
                "GRE ?FIELD[A-Z]*", "B[01] ?MAP[A-Z]*", "QSM", "SUSCEPT[A-Z]*", "CARE ?BOLUS", "SMART ?PREP", "MRCP"
            ),
        ),
    ),
    (
        "other",  # relaxation maps and other quantities
        (
            _words("(?:[TR][12]|T1W|PD|Q|MWF)[ -]?MAP[A-Z]*", "MAPS?", "MAPPING", "MAPIT", "MOLLI", "RELAX[A-Z]*"),
            _words(
                "T1[ -]?RHO", "[A-Z]*KARTE", "CARTE", "CARTOGRAPHIE", "MAPP?A", "MTR", "MWF", "R[12] ?\\*?", "STD ?DEV"
            ),
            re.compile(r"T[12]RHO|(?<![A-Z])CARTO|CARTOGR"),
        ),
    ),
    (
        "other",  # projections and renderings
        (
            _words(
                "MIN?M?IPS?",
                "MINIP",
                "MIPS?",
                "M ?I ?P",
                "PROJ(?:ECTIONS?)?",
                "COLLAPSED?",
                "PJN",
                "RAYSUM",
                "VRT",
                "SSD",
            ),
            re.compile(
                r"MINIP|MIN ?IP(?![A-Z])|MAX ?IP(?![A-Z])|PROJECTION|VOLUME REND|3D REND|RENDERING|PROYEC|PROIEZ"
            ),
        ),
    ),
    (
        "other",  # other pictures than weighted magnitudes
        (
            re.compile(
                r"(?<![A-Z])(?<!IN )(?<!IN-)(?<!OF )(?<!OF-)(?<!OPP )(?<!OPPOSED )(?<!OUT )(?:PHASE|PHA)(?![A-Z])"
            ),
            _words(
                "REAL(?! ?TIME)",
                "IMAG(?:INARY)?",
                "PSIR",
                "CALIBRATION",
                "ASSET CAL",
                "ASSET",
                "CAL(?:IB)?",
                "SHIM[A-Z]*",
            ),
            _words(
                "MOSAIC",
                "SCREEN ?(?:SAVES?|SHOTS?|CAPTURES?)",
                "KEY ?IMAGES?",
                "[A-Z]*REPORT",
                "INV ?-?[12]",
                "REF ?SCAN",
            ),
            _words(
                "NOISE",
                "SENSE REF",
                "MRE?LASTO[A-Z]*",
                "QUANT[A-Z]*",
                "FAT(?: ONLY| IMAGE| FRACTION)",
                "SUMMARY",
                "DIR",
            ),
            _words("STIR", "T2S", "T2 STIR", "DOUBLE (?:INV[A-Z]*|IR)", "DOSE"),
        ),
    ),
    (
        "other",  # steady states that are not spoiled
        (
            _words(
                "FIESTA[A-Z-]*", "CISS", "TRUE?[ -]?FI(?:SP)?", "B-?SSFP", "SSFP", "B-?FFE", "BALANCED", "DESS", "PSIF"
            ),
        ),
    ),
    (
        "other",  # T2* and blood, unless T1 is said
        (
            re.compile(
                r"^(?!.*T1).*(?<![A-Z])(?:GRE|GRADIENT|MEDIC|MERGE|H[AE]{1,2}M[OE][A-Z]*"
                r"|GRADIENTEN ?ECHO|ME[23]D[0-9A-Z]*)(?![A-Z])"
            ),
            re.compile(
                r"^(?!.*T1).*T2.*(?<![A-Z])(?:FL[23]D[0-9]*|CI3D|FFE|FLASH|FISP|EG|FI[23]D"
                r"|SPGR|(?:FE|SE)?-?EPI|ECHO ?PLANAR)(?![A-Z])"
            ),
            re.compile(r"^(?!.*T1).*T2W?[-]?FFE"),
        ),
    ),
)
_OWN = "(?<!POS)(?<!PAR)(?<!TES)"  # the T is no other word's: "POST1" is the first image after contrast
T1 = re.compile(
    rf"{_OWN}T1(?![0-9])|MP-? ?2?-?RAGE|SPGR|BRAVO|(?<![A-Z])(?:[A-Z]*VIBE|LAVA[A-Z]*|E?-?THRIVE|FAME)(?![A-Z])"
)
T2 = re.compile(rf"{_OWN}T2(?![0-9])")
FLAIR = re.compile(r"FLAIR|DARK[ -]?FL|(?<![A-Z])DA[ -]?FL|TIRM|FLUID[ -]?ATT|(?<![A-Z])SPC[ -]?IR(?![A-Z])")
PROTON = _words("PDW?", "PROTON[A-Z]*", "DUAL ECHO", "RHO", "DP", "DENSITY")
EXAMINATION = re.compile(
    r"BRAIN|HEAD|ROUTINE|TUMOU?R|EXAM|PROTOC|KOPF|SCH(?:AE|A)DEL|CRAN|CEREB|ENCEPH|(?<![A-Z])(?:MRI|IRM)"
)

NO_IMAGE_TYPES = frozenset(
    (
        *(
            "PROJECTION IMAGE",
            "MIP",
            "MINIP",
            "MIN IP",
            "MOSAIC",
            "PHASE",
            "PHASE MAP",
            "P",
            "REAL",
            "R",
            "IMAGINARY",
            "I",
        ),
        *("MAX_IP", "MIN_IP", "MAXIMUM", "VOLUME_RENDER", "SCREEN SAVE", "SCREENSAVE", "STDDEV", "T1 MAP", "T2 MAP"),
        *(
            "T2_STAR MAP",
            "R2 MAP",
            "R2_STAR MAP",
            "T1_MAP",
            "T2_MAP",
            "T2STAR_MAP",
            "T1MAP",
            "T2MAP",
            "EXP_ADC",
            "EADC",
        ),
        *("FA", "TENSOR", "FIELD_MAP", "FIELDMAP", "B0 MAP", "B1 MAP", "VELOCITY", "PROPELLER MAP", "PHASE_CONTRAST"),
        *(
            "FAT",
            "FAT_FRACTION",
            "R_FFE",
            "I_FFE",
            "P_FFE",
            "R_SE",
            "I_SE",
            "P_SE",
            "R_IR",
            "I_IR",
            "P_IR",
            "RCBV",
            "RCBF",
        ),
        *("EXPONENTIAL_ADC", "PHASE_MAP", "REPORT", "SCREEN CAPTURE", "PJN", "COLLAPSE", "VRT"),
    )
)
"""Values of ImageType from the third on that no weighted image has, whatever its description says."""
OTHER_IMAGE_TYPES = frozenset(("DIFFUSION", "TRACEW", "PERFUSION", "ANGIO", "FMRI", "ASL"))
DERIVED = re.compile(r"SUBTRACT|(?<![A-Z])(?:MIP|MINIP|PROJECTION|MAXIMUM INTENSITY|MINIMUM INTENSITY)(?![A-Z])")
