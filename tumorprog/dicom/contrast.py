"""Words of contrast in, before or after out; and what the free text of the agent's header says.

The words are those of archives in English, German, French, Spanish, Italian and Dutch. A negation counts for what it
stands before: "POST W/O FS" is after contrast, without fat saturation.
"""

import re
import unicodedata

BEFORE, AFTER = "before", "after"
_MOST_TEXT = 512  # characters; a description has 64, and what is longer is damage


_INITIALS = re.compile(r"(?<![A-Z])(?:[A-Z]\.){2,}")  # "i.v.", "m.d.c."


def upper(text: str) -> str:
    """A text in capitals, without accents, and with spaces for what joins words: underscores and dots."""
    text = text[:_MOST_TEXT]
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() if not text.isascii() else text
    whole = _INITIALS.sub(lambda found: found[0].replace(".", ""), plain.upper())
    return " ".join(re.sub(r"_|\.(?![0-9])", " ", whole).split())


_START, _END = "(?<![A-Z])", "(?![A-Z])"
_BRANDS = (
    "MAGNEVIST|OMNISCAN|(?:MULTI|PRO)HANCE|DOTAREM|GAD[AO]VIST|VASOVIST|EOVIST|PRIMOVIST|CLARISCAN|ELUCIREM|VUEWAY"
    "|ABLAVAR|OPTIMARK|ARTIREM|GADO[A-Z]*|FERAHEME|GBCA"
)
_MEDIUM = (  # what a negation or a "with" can refer to
    rf"(?:(?:THE |DE |DI |DEL |TOEDIENING (?:VAN )?|I ?V ?|EV )?"
    rf"(?:[CK]ONTRAST[A-Z]*|CONTR?|CON|GADO|GAD|GD|KM|MDC|MCI?|CM|PDC|CE|CIV"
    rf"|C|IV|EV|INJ[A-Z]*|INIEZ[A-Z]*|INY[A-Z]*|ENH[A-Z]*|PRODUIT|MEZZO|MEDIO|AGENT|{_BRANDS}){_END})"
)
_NEGATION = r"(?:W ?/ ?O(?:UT)?|WO|WITHOUT|OHNE|SANS|SIN|SENZA|ZONDER|SEM|S/)"
_PLACE = r"(?:AX[A-Z]*|SAG[A-Z]*|COR[A-Z]*|TRA[A-Z]*|OBL[A-Z]*|T1[A-Z]*|SE|TSE|FSE|3D|2D|MP-?RAGE)"
_BOTH = re.compile(
    rf"(?:{_MEDIUM} ?)?\+ ?/ ?-(?: ?{_MEDIUM})?|{_START}(?:(?:W|WITH) ?(?:[/&+,-]|AND|UND|ET|Y|E) ?(?:W/?O|WITHOUT)"
    rf"|(?:W/?O|WITHOUT) ?(?:[/&+,-]|AND) ?(?:W|WITH)"
    rf"|PRE ?(?:[/&+,-]|AND|UND|ET|Y|E|EN)? ?POST"
    rf"|OHNE ?(?:[/&+,-]|UND) ?MIT|MIT ?(?:[/&+,-]|UND) ?OHNE"
    rf"|SANS ?(?:[/&+,-]|ET) ?AVEC|SIN ?(?:[/&+,-]|Y) ?CON|SENZA ?(?:[/&+,-]|E) ?CON){_END}/?(?: ?{_MEDIUM})?"
)
"""Both at once names a study's protocol, not a series."""
_EVENT = r"(?:OP|SURG|RT|RAD|TREAT|RESECT|BIOP|CHEMO|THERAP|CRANI|PROC|TX)[A-Z]*"
_OTHER_MEANING = re.compile(
    rf"PRE[ -]?SAT[A-Z]*|{_START}(?:PRE|POST)[ -]?{_EVENT}|POSTERIOR|{_START}(?:HIGH|TISSUE|SOFT|PHASE)[ -]CONTRAST"
    rf"|POSTPROC[A-Z]*|CONTRAST[ -]?(?:OPT[A-Z]*|FILTER)"
)
_BEFORE = re.compile(
    rf"{_START}PRE{_END}|{_START}PRE[ -]?(?:REG{_END}|{_MEDIUM})"
    rf"|{_START}{_NEGATION} ?(?:{_MEDIUM}|$|[)(\],;]|{_PLACE})"
    rf"|{_START}(?:NO|NON|NOT|KEIN|PAS DE|AUCUN|GEEN)[ -]?{_MEDIUM}"
    rf"|{_START}(?:VOR|AVANT|ANTES|PRIMA|VOOR|BEFORE)(?: (?:DE|DI|DEL|L'))?(?: ?{_MEDIUM}|$)"
    rf"|{_START}O ?KM{_END}|{_START}(?:NATIV[A-Z]*|BLANCO|BASAL|BASALE|UN-?ENH[A-Z]*|PLAIN|NON?[ -]?ENH[A-Z]*){_END}"
    rf"|(?<![A-Z0-9])- ?(?:C|CE|GD|GAD|KM|CM|MDC){_END}|(?:{_START}|T1)(?:C|CE|GD|GAD|KM|CM|MDC)-(?![A-Z0-9])"
)
_AFTER = re.compile(
    rf"POST(?![A-Z]*PRE)|{_START}(?:NACH|APRES|DESPUES|DOPO|AFTER|NA) ?(?:DE |L')?{_MEDIUM}"
    rf"|{_START}(?:APRES|DOPO){_END}"
    rf"|{_BRANDS}|[CK]ONTRAST"
    rf"|{_START}(?:T1 ?W?[ -]?)?(?:GAD|GD|KM|MDC|PDC|CE|CIV|CEMR|ENH|ENHANCED|ENHANCEMENT|INJ[A-Z]*|INY[A-Z]*"
    rf"|INIEZ[A-Z]*|REHAUSS[A-Z]*|APC|C\+){_END}"
    rf"|T1 ?W?[ -]?(?:(?<!-)C|CE|GD|GAD|KM|CONTR?|POST){_END}|T1W?\+(?! ?T2)|\+ ?(?:{_MEDIUM}|$)|{_START}C\+"
    rf"|{_START}(?:W|WITH|MIT|AVEC|CON|MET|COM|IV|C/)[ /]*{_MEDIUM}|{_START}(?:IV|EV|CONTR?|CM){_END}(?= ?$)"
    rf"|ENHANCED|{_START}M ?KM{_END}|{_START}POS{_END} ?{_MEDIUM}"
)


def by_words(words: str) -> str:
    """Whether a description says that an image was taken before or after contrast.

    Args:
        words: as `upper` gives them.

    Returns:
        `BEFORE`, `AFTER`, or "" if it says neither or both.
    """
    words = _BOTH.sub(" ", words)
    words = " ".join(_OTHER_MEANING.sub(" ", words).split())
    # "W/O" and "WITHOUT CONTRAST" hold words of both kinds, so that what says "before" is asked first
    if _BEFORE.search(words):
        return BEFORE
    return AFTER if _AFTER.search(words) else ""


_NO_AGENT = re.compile(
    rf"{_START}(?:NO|NONE|NOT|NON(?!-IONIC)|NIL|NULL|WITHOUT|W/?O|KEIN[A-Z]*|OHNE|NEIN|NICHT|AUCUN[A-Z]*|SANS|PAS|SIN|NADA"
    rf"|NINGUN[AO]?|NESSUN[AO]?|SENZA|GEEN|ZONDER|NIET|NEE|NATIV[A-Z]*|BLANCO|UNENH[A-Z]*|PRE[ -]?CON[A-Z]*|FALSE"
    rf"|REFUSED|DECLINED|NEVER|NONCON[A-Z]*|S/C){_END}|^N$"
    r"|(?<![0-9.,])0+(?:[.,]0*)?(?: ?(?:ML|CC|MMOL|MG)|$)"
)
_SILENT = re.compile(
    r"[^A-Z0-9]*|N ?/? ?A|NOT (?:APPLICABLE|STATED|RECORDED|KNOWN)|UNKNOWN|UNK|UNSPECIFIED|[A-Z ]*SALINE"
)
_NO_HARM = re.compile(
    rf"{_START}(?:NO|W/?O|WITHOUT|NON) (?:KNOWN |IMMEDIATE )?"
    rf"(?:ADVERSE|REACT|COMPLIC|ALLERG|EXTRAV|EVENT|PROBLEM|ISSUE)[A-Z]*"
)


def by_agent(text: str) -> str:
    """What ContrastBolusAgent says: it is free text, and often says "none" in words of its own.

    Args:
        text: of the header.

    Returns:
        `AFTER` for an agent, `BEFORE` where it says that there is none, "" where it says nothing.
    """
    words = upper(text)
    if _SILENT.fullmatch(words):
        return ""
    # "GADAVIST, NO REACTION" is an agent
    return BEFORE if _NO_AGENT.search(_NO_HARM.sub(" ", words)) else AFTER
