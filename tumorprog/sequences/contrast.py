"""Whether an image was acquired before or after contrast, from its description and from ContrastBolusAgent.

The terms are those found in archives in English, German, French, Spanish, Italian and Dutch. A negation applies only to
the term that follows it: "POST W/O FS" is after contrast, without fat saturation.
"""

import re
import unicodedata

BEFORE, AFTER = "before", "after"
_MAX_TEXT_LENGTH = 512  # characters; a description has at most 64, so a much longer one is damaged

_INITIALS = re.compile(r"(?<![A-Z])(?:[A-Z]\.){2,}")  # "i.v.", "m.d.c."


def normalise(text: str) -> str:
    """Return a text in capitals, without accents, and with spaces in place of underscores and dots."""
    text = text[:_MAX_TEXT_LENGTH]
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode() if not text.isascii() else text
    joined = _INITIALS.sub(lambda found: found[0].replace(".", ""), plain.upper())
    return " ".join(re.sub(r"_|\.(?![0-9])", " ", joined).split())


_START, _END = "(?<![A-Z])", "(?![A-Z])"
_BRANDS = (
    "MAGNEVIST|OMNISCAN|(?:MULTI|PRO)HANCE|DOTAREM|GAD[AO]VIST|VASOVIST|EOVIST|PRIMOVIST|CLARISCAN|ELUCIREM|VUEWAY"
    "|ABLAVAR|OPTIMARK|ARTIREM|GADO[A-Z]*|FERAHEME|GBCA"
)
_MEDIUM = (  # terms to which a negation or a "with" can refer
    rf"(?:(?:THE |DE |D'|DI |DEL |TOEDIENING (?:VAN )?|I ?V ?|EV )?"
    rf"(?:[CK]ONTRAST[A-Z]*|CONTR?|CON|GADO|GAD|GD|KM|MDC|CDC|MCI?|CM|PDC|CE|CIV"
    rf"|C|IV|EV|INJ[A-Z]*|INIEZ[A-Z]*|INY[A-Z]*|ENH[A-Z]*|PRODUIT|MEZZO|MEDIO|AGENT|{_BRANDS}){_END})"
)
_SIGNED = rf"(?:C|CE|GD|GAD|KM|CM|MDC){_END}"  # terms that take a plus or a minus
_WITHOUT = rf"(?:W ?/ ?O(?:UT)?|WO|W[ -]O{_END}|WITHOUT|OHNE|SANS|SIN|SENZA|ZONDER|SEM|S/)"
_WITH = "(?:(?<!T1)W/?|WITH|MIT|AVEC|CON|MET|COM|C/)"
_EARLIER = "(?:PRE|PRAE?|VOR|AVANT|ANTES|PRIMA|VOOR|BEFORE|NATIV[A-Z]*)"
_LATER = "(?:POST|NACH|APRES|DESPUES|DOPO|NA|AFTER)"
_JOIN = "(?:[/&+,-]|AND|UND|ET|Y|E|EN)"
_PLANE_OR_TECHNIQUE = r"(?:AX[A-Z]*|SAG[A-Z]*|COR[A-Z]*|TRA[A-Z]*|OBL[A-Z]*|T1[A-Z]*|SE|TSE|FSE|3D|2D|MP-?RAGE)"
_BOTH = re.compile(
    rf"(?:{_MEDIUM} ?)?(?:\+ ?/ ?-|- ?/ ?\+|\+-)(?: ?{_MEDIUM})?|{_START}{_SIGNED}[+-] ?/ ?{_SIGNED}[+-]"
    rf"|{_START}NATIV ?{_JOIN} ?KM{_END}"
    rf"|{_START}(?:{_WITH} ?{_JOIN} ?{_WITHOUT}|{_WITHOUT} ?{_JOIN} ?{_WITH}|(?<!T1)W/? ?W ?/? ?O(?:UT)?"
    rf"|{_EARLIER} ?{_JOIN}? ?{_LATER}|{_LATER} ?(?!-){_JOIN} ?{_EARLIER}){_END}/?(?: ?{_MEDIUM})?"
)
"""Before and after together: the name of a study's protocol, not of a series."""
_EVENT = r"(?:OP|SURG|RT|RAD|TREAT|RESECT|BIOP|CHEMO|THERAP|CRANI|PROC|TX)[A-Z]*"
_OTHER_MEANING = re.compile(
    rf"PRE[ -]?SAT[A-Z]*|{_START}(?:PRE|POST)[ -]?{_EVENT}|POST(?:ERIOR| FOSSA)|POSTPROC[A-Z]*"
    rf"|{_START}(?:HIGH|TISSUE|SOFT|PHASE)[ -]CONTRAST|CONTRAST[ -]?(?:OPT[A-Z]*|FILTER)"
    rf"|NATIVE SPACE|{_START}C[ -]SPINE"
)
_BEFORE = re.compile(
    rf"{_START}(?:PRE|PRAE){_END}|{_START}PR(?:E|AE?)[ -]?(?:REG{_END}|{_MEDIUM})"
    rf"|{_START}{_WITHOUT} ?(?:{_MEDIUM}|$|[)(\],;]|{_PLANE_OR_TECHNIQUE})"
    rf"|{_START}(?:NO|NON|NOT|KEIN|PAS DE|PAS|AUCUN|GEEN)[ -]?{_MEDIUM}"
    rf"|{_START}(?:VOR|AVANT|ANTES|PRIMA|VOOR|BEFORE)(?: (?:DE|DI|DEL|L'))?(?: ?{_MEDIUM}|$)"
    rf"|{_START}(?:NAT(?:IV[A-Z]*)?|BLANCO|BIANCO|BASAL|BASALE|DIRETT[AO]|PREVI[AO]|SIMPLE|UN-?ENH[A-Z]*|PLAIN"
    rf"|NON?[ -]?ENH[A-Z]*|NCE?|[OV] ?KM|SMDC){_END}"
    rf"|(?<![A-Z0-9])- ?{_SIGNED}|(?:{_START}|T1){_SIGNED}(?:-(?![A-Z0-9])| ?\(-\)| -$)|T1N{_END}|T1W? ?(?:\(-\)|-$)"
)
_AFTER = re.compile(
    rf"POST(?![A-Z]*PRE)|{_START}(?:NACH|APRES|DESPUES|DOPO|AFTER|NA) ?(?:DE |L')?{_MEDIUM}"
    rf"|{_START}(?:APRES|DOPO){_END}"
    rf"|{_BRANDS}|[CK]ONTRAST"
    rf"|{_START}(?:T1 ?W?[ -]?)?(?:GAD|GD|KM|MDC|CDC|PDC|CE|CIV|CEMR|ENH|ENHANCED|ENHANCEMENT|INJ[A-Z]*|INY[A-Z]*"
    rf"|INIEZ[A-Z]*|REHAUSS[A-Z]*|APC|C\+){_END}"
    rf"|T1 ?W?[ -]?(?:(?<!-)C(?![0-9])|CE|GD|GAD|KM|CONTR?|POST?){_END}|T1W?\+(?! ?T2)|\(\+\)"
    rf"|\+ ?(?:{_MEDIUM}|$)|{_START}C\+"
    rf"|{_START}(?:W|WITH|MIT|AVEC|CON|MET|COM|IV|C/)[ /-]*{_MEDIUM}|{_START}(?:IV|EV|CONTR?|CM|MC){_END}(?= ?$)"
    rf"|ENHANCED|{_START}M ?KM{_END}|{_START}(?:WITH|MIT|AVEC)(?= ?$)|{_START}POS{_END} ?{_MEDIUM}"
)


def from_text(text: str) -> str:
    """Return whether a description states that an image was acquired before or after contrast.

    Args:
        text: as returned by `normalise`.

    Returns:
        `BEFORE`, `AFTER`, or "" if it states neither or both.
    """
    text = _BOTH.sub(" ", text)
    text = " ".join(_OTHER_MEANING.sub(" ", text).split())
    # "W/O" and "WITHOUT CONTRAST" contain terms of both kinds, so the patterns of "before" are tried first
    if _BEFORE.search(text):
        return BEFORE
    return AFTER if _AFTER.search(text) else ""


_NEVER_GIVEN = re.compile(
    rf"{_START}(?:NATIV[A-Z]*|BLANCO|UN-?ENH[A-Z]*|UNGIVEN|PRE[ -]?CON[A-Z]*|PLAIN|NONCON[A-Z]*|NC|S/C|FALSE"
    rf"|NEG(?:ATIVE)?|NEVER|REFUSED|DECLINED|CANCELL?ED|HELD|CONTRAINDICATED){_END}|^(?:N|F|PRE)$"
    r"|(?<![0-9.,])0+(?:[.,]0*)?(?: ?(?:ML|CC|MMOL|MG)(?!/)|$)"
)
_NEGATION = (
    rf"{_START}(?:NO|NONE|NOT|NON(?!-IONIC)|NIL|NULL|NADA|NINGUN[AO]?|NESSUN[AO]?|NIENTE|KEIN[A-Z]*|NEIN|NICHT"
    rf"|AUCUN[A-Z]*|PAS|GEEN|NIETS?|NEE|{_WITHOUT}){_END}"
)
_NEGATED = re.compile(_NEGATION)
_AGENT_NEGATED = re.compile(rf"{_NEGATION}[ -]*(?:{_MEDIUM}|$|GIVEN|USED|ADMIN|APPLI|GEGEB|DONN|GEGEV)")
_AGENT_NAMED = re.compile(rf"{_BRANDS}|{_START}(?:GAD|GD){_END}|[1-9] ?(?:ML|CC|MMOL)")
_UNINFORMATIVE = re.compile(
    r"[^A-Z0-9+]*|N ?/? ?A|NOT (?:APPLICABLE|STATED|RECORDED|KNOWN)|UNKNOWN|UNK|UNSPECIFIED"
    r"|(?:NORMAL |NACL )?SALINE(?: FLUSH)?|NACL"
)


def from_agent(text: str) -> str:
    """Return whether ContrastBolusAgent names a contrast agent; it is free text that often states "none".

    Args:
        text: the value of the element.

    Returns:
        `AFTER` if an agent was given, `BEFORE` if the text states that none was, "" if it is uninformative.
    """
    normalised = normalise(text)
    if _UNINFORMATIVE.fullmatch(normalised):
        return ""
    # if an agent is named, a negation can refer to something else: "GADAVIST, NO REACTION", "LOT NO 1"
    negated = (_AGENT_NEGATED if _AGENT_NAMED.search(normalised) else _NEGATED).search(normalised)
    return BEFORE if negated or _NEVER_GIVEN.search(normalised) else AFTER
