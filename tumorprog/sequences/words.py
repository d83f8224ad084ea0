"""Terms by which scanners and users name kinds of images: patterns for texts returned by `contrast.normalise`."""

import re


def _whole_words(*alternatives: str) -> re.Pattern[str]:
    """Return a pattern for any of the alternatives as a whole word: "LOC" in "AX LOC", not in "VELOCITY"."""
    return re.compile(rf"(?<![A-Z])(?:{'|'.join(alternatives)})(?![A-Z])")


def _substrings(*alternatives: str) -> re.Pattern[str]:
    """Return a pattern for any of the alternatives, even within a word: "ANGIO" in "MRANGIOGRAPHY"."""
    return re.compile("|".join(alternatives))


_TUMOUR = "(?:TUM(?:OU?R|EUR|ORE|ORAL)|LESION|GLIOMA)"
MASK = _whole_words(
    rf"MASKS? ?{_TUMOUR}|{_TUMOUR} ?MASK[A-Z]*|ROI ?MASKS?|(?:MASQUE|MASCHERA|MASCARA) (?:DEL? )?{_TUMOUR}",
    rf"{_TUMOUR} ?SEG[A-Z]*|SEG {_TUMOUR}",
)
BARE_MASK = _whole_words("MASKS?|SEGM(?:ENT(?:ED|A[TCZ]I[A-Z]+|IERUNG))?")
ANGIOGRAM = re.compile(
    r"ANGIO|TRICKS|TWIST|BOLUS|VENOGR|CAROTID|(?<![A-Z])(?:(?:CE[ -]?)?MR[AV]|TOF|KEYHOLE|4D-?TRAK|INHANCE|VENOUS"
    r"|[23]D PC)(?![A-Z])|(?<![A-Z])PERF"
    r"|(?<![A-Z])(?:BRAIN|HEAD|FACE|SKULL|GM|WM|CSF|CE|DYN[A-Z]*|FL[23]D[A-Z0-9]*)(?: [A-Z]+)?[ -]?(?:MASK|SEGM)"
)
_AFTER = "(?:POST|(?<![A-Z])(?:GD|GAD|C|CE|KM))"
SUBTRACTION = re.compile(
    r"SUB?S?TR|SOUSTR|SOTTRA|(?<![A-Z])(?:SUB(?![ -]?(?:MILL|MM)| ?-?[0-9]{2}|-[A-Z]*[0-9])|SUBS|RESTA)(?![A-Z])"
    r"|DIFFEREN[CZ]"
    rf"|{_AFTER}[^-]*(?<=[ A-Z0-9])(?:-|MINUS)[^-]*(?:PRE(?![A-Z])|NATIV|W/O)"
    r"|C\+ ?(?:-|MINUS) ?(?:T1 ?)?C-|T1 ?W?-?(?:CE|C\+?|GD|KM|POST) ?(?:-|MINUS) ?T1"
)

EXPONENTIAL_ADC = _substrings(
    "(?<![A-Z])(?:E|EXP)[ -]?ADC|(?<![A-Z])EXP[A-Z]*[ -]+(?:ADC|APPARENT|DIFF|ATTEN)|ATTENUATION COEFF"
)

# The first match counts: the meaning of a term can depend on the patterns above it.
KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("mask", MASK),
    (
        "localizer",
        _whole_words(
            "LOC|LO[CK]ALI[SZ](?!ED)[A-Z]*|LO[CK]ATOR|[A-Z]*SCOUTS?|SURVEY|PILOT|TOPO(?:GRAM)?|SCANO(?:GRAM)?",
            "(?:3|THREE|TRI)[- ]?PL(?:ANE?)?(?:LOC)?|REPER(?:AGE)?S?",
            "CENTRA(?:GE|TURA)|SMART ?(?:BRAIN|PLAN)|PLAN[ -]?SCAN|UE?BERSICHT",
        ),
    ),
    ("nRCBV", _whole_words("NRCBV|NORMALI[SZ]ED RCBV")),
    ("sRCBV", _whole_words("SRCBV|STANDARDI[SZ]ED RCBV")),
    ("nCBF", _whole_words("NCBF|NORMALI[SZ]ED CBF")),
    ("dT1", _substrings("(?<![A-Z0-9])(?:D ?T1(?![0-9])|DELTA[ -]?T1)")),
    ("other", EXPONENTIAL_ADC),  # exponential ADC is not ADC
    (
        "ADC",
        _whole_words(
            "[DMS]?ADC[A-Z]*|APPARENT DIFF[A-Z]*|COEFF?ICIENTE? D[EI] DIFF?USION[A-Z]*",
            "(?:AVERAGE|AVG|AVE?) ?(?:DC|ADC)|ISO(?:TROPIC)? ?ADC|DC MAP",
        ),
    ),
    # diffusion, perfusion, angiography, functional imaging, spectroscopy
    (
        "other",
        _substrings(
            r"DWI|DTI|DIFF(?!EREN)|TRACE|T2 ?\*|T2[ -]?STAR|PERF|SPECTRO|ANGIO|VENOGR|FMRI|BOLD|FIELD ?MAP|TENSOR",
            r"TRICKS|TWIST|^(?!.*T1).*(?:BOLUS|CAROTID)",
        ),
    ),
    (
        "other",
        _whole_words(
            "E?SWI|E?SWAN[A-Z]*|SWIP|(?:CE)?MR[AV]|VENOUS|[23]D PC|TOF|DSC|DCE|PWI|MRS|R?CBV|CBF|MTT|TTP|TMAX|KTRANS",
            "ASL|P?C?ASL|DKI|HARDI|IVIM|NODDI|PCA|CSI|SVS|PRESS|VENO(?:BOLD)?|B ?[0-9]{3,4}|C?FA|COL(?:OU?R)? ?FA",
            "FRACTIONAL ANISO[A-Z]*|MD|RD|AD|GRE ?FIELD[A-Z]*|B[01] ?MAP[A-Z]*|QSM|SUSCEPT[A-Z]*|CARE ?BOLUS",
            "SMART ?PREP|MRCP|NEI|ENHANCEMENT INTEGRAL",
        ),
    ),
    # relaxation maps and other quantitative maps
    (
        "other",
        _whole_words(
            "(?:[TR][12]|T1W|PD|Q|MWF)[ -]?MAP[A-Z]*|MAPS?|MAPPING|MAPIT|MOLLI|RELAX[A-Z]*|[A-Z]*KARTE|CARTE|MAPP?A",
            r"MTR|MWF|R[12] ?\*?|STD ?DEV|CARTO[A-Z]*|QUANT[A-Z]*",
        ),
    ),
    ("other", _substrings("T[12][ -]?RHO|CARTOGR")),
    # projections and renderings
    (
        "other",
        _whole_words("MIN?M?IPS?|M ?I ?PS?|MAX ?IP|PROJ(?:ECTIONS?)?|COLLAPSED?|PJN|RAYSUM|VRT|SSD"),
    ),
    ("other", _substrings("MIN ?IP(?![A-Z])|MINIP|PROJECTION|VOLUME REND|3D REND|RENDERING|PROYEC|PROIEZ")),
    # images other than weighted magnitude images
    (
        "other",
        _substrings(r"(?<![A-Z])(?<!IN )(?<!IN-)(?<!OF )(?<!OF-)(?<!OPP )(?<!OPPOSED )(?<!OUT )(?:PHASE|PHA)(?![A-Z])"),
    ),
    (
        "other",
        _whole_words(
            "REAL(?! ?TIME)|IMAG(?:INARY)?|CALIBRATION|ASSET(?: CAL)?|CAL(?:IB)?|SHIM[A-Z]*|REF ?SCAN|SENSE REF|NOISE",
            "MOSAIC|SCREEN ?(?:SAVES?|SHOTS?|CAPTURES?)|KEY ?IMAGES?|[A-Z]*REPORT|SUMMARY|MRE?LASTO[A-Z]*",
            "INV ?-?[12]|PSIR|STIR|DIR|DOUBLE (?:INV[A-Z]*|IR)|T2S|FAT(?: ?:| ONLY| IMAGE| FRACTION)",
            "(?:DIXON|FLEX|IDEAL)(?: [A-Z]+)? F(?:AT)?(?! ?-?SAT| ?-?SUP)",
        ),
    ),
    # unspoiled steady-state sequences
    ("other", _whole_words("FIESTA[A-Z-]*|CISS|TRUE?[ -]?FI(?:SP)?|B-?SSFP|SSFP|B-?FFE|BALANCED|DESS|PSIF")),
    # T2* and blood-sensitive sequences, unless T1 is stated
    (
        "other",
        _substrings(
            r"^(?!.*T1).*(?<![A-Z])(?:GRE|GRADI[A-Z]*|MPGR|MEDIC|MERGE|H[AE]{1,2}M(?:[OE][A-Z]*)?|ME[23]D[0-9A-Z]*)(?![A-Z])"
        ),
    ),
    (
        "other",
        _substrings(
            r"^(?!.*T1)(?=.*T2).*(?<![A-Z])(?:FL[23]D[0-9]*|CI3D|FFE|FLASH|FISP|EG|FI[23]D|FE|SPGR|ETOILE|(?:FE|SE)?-?EPI"
            r"|ECHO ?PLANAR)(?![A-Z])",
            "^(?!.*T1).*T2W?[-]?FFE",
        ),
    ),
)
_NOT_IN_WORD = "(?<!POS)(?<!PAR)(?<!TES)"  # T does not end another word: "POST1" is the first image after contrast
T1 = re.compile(
    rf"{_NOT_IN_WORD}T1(?![0-9])|MP-? ?2?-?RAGE|SPGR|BRAVO|(?<![A-Z])(?:[A-Z]*VIBE|LAVA[A-Z]*|E?-?THRIVE|FAME)(?![A-Z])"
)
T2 = re.compile(rf"{_NOT_IN_WORD}T2(?![0-9])")
FLAIR = re.compile(
    r"FLAIR|T2F(?![A-Z])|DARK[ -]?FL|(?<![A-Z])DA[ -]?FL|TIRM|FLUID[ -]?ATT|(?<![A-Z])SPC[ -]?IR(?![A-Z])"
)
PROTON = _whole_words("PDW?|PROTON[A-Z]*|DUAL[ -]?ECHO|RHO|DP|DENSITY")
EXAMINATION = re.compile(
    r"BRAIN|HEAD|ROUTINE|TUMOU?R|EXAM|PROTOC|KOPF|SCH(?:AE|A)DEL|CRAN|CEREB|ENCEPH|(?<![A-Z])(?:MRI|IRM)"
)

NON_WEIGHTED_TYPE = re.compile(
    "[PRI]|[PRI] (?:SE|FFE|IR)|PHASE(?: CONTRAST)?|REAL|IMAGINARY|VELOCITY|(?!ADC).*MAP|FA|TENSOR|STD ?DEV.*"
    "|M(?:AX|N|IN)? ?IP|MAXIMUM|MINIMUM|PROJECTION IMAGE|COLLAPSE|PJN|VRT|VOLUME RENDER(?:ING)?|MOSAIC"
    "|SCREEN ?(?:SAVE|CAPTURE)|.*REPORT|FAT(?: FRACTION)?|R?CB[VF]|MTT|TTP|(?:EXP(?:ONENTIAL)? |E)ADC"
)
"""A value of ImageType, from the third on, that excludes a weighted image whatever its description; "_" is " "."""
SUBTRACTION_TYPES = frozenset(("SUB", "SUBTRACT", "SUBTRACTION"))
ADC_TYPES = frozenset(("ADC", "ADC MAP", "ADC SE"))
IMAGE_TYPES = (
    ("localizer", frozenset(("LOCALIZER",))),
    ("ADC", ADC_TYPES),
    ("other", frozenset(("DIFFUSION", "TRACEW", "PERFUSION", "ANGIO", "FMRI", "ASL", "TOF", "FLOW ENCODED"))),
    ("other", frozenset(("T2 STAR", "PROTON DENSITY", "STIR", "TAGGING"))),
    ("FLAIR", frozenset(("FLUID ATTENUATED",))),
    ("T1", frozenset(("T1",))),
    ("T2", frozenset(("T2",))),
)
"""Sequences by values of ImageType and AcquisitionContrast, used if no text states one; the first match counts."""
DERIVED = re.compile(r"SUBTRACT|(?<![A-Z])(?:MIP|MINIP|PROJECTION|MAXIMUM INTENSITY|MINIMUM INTENSITY)(?![A-Z])")
