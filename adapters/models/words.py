"""Text taken apart: sentences, clauses and words, and the words that say nothing by themselves.

English and Portuguese, the English of old diaries included. Pure, and without any state.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from domain.journal.languages import Language

_ABBREVIATED = (
    "mr mrs ms dr st sir capt col gen lt sgt prof rev hon esq mme mlle jr sr no vol etc viz"
    " sra srta dra eng prof av nº i.e e.g cf wm chas geo jas tho robt ed jan feb mar apr jun jul"
    " aug sept sep oct nov dec"
).split()
_END = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+(?=[\"'“‘(\[]*[A-ZÀ-Þ0-9])|\n{2,}|(?<=\n)(?=[-*#>] )")
_LONGEST_ABBREVIATION = 8
_LAST_WORD = re.compile(r"([A-Za-zÀ-ÿ.’']+)\.$")
_CLAUSE = re.compile(r"(?<=[;:])\s+|\s+[—–]\s*|\s+--\s+")
WORD = re.compile(r"[^\W\d_]+(?:[’'][^\W\d_]+)*")
"""A word: letters, with apostrophes inside."""
_MARKUP = re.compile(r"!?\[([^\]\[]{0,300})\]\([^)]{0,500}\)|[*_`#>]+")

STOP = frozenset(
    (
        # English
        "a about above after again against ain all also am an and any are aren as at be because"
        " been before being below between both but by can cannot could couldn did didn do does"
        " doesn doing don down during each either else even ever every few for from further get"
        " gets getting give given go goes going gone got had hadn has hasn have haven having he"
        " her here hers herself him himself his how however i if in indeed into is isn it its"
        " itself just keep kept know last least less let like ll long lot made make makes making"
        " many may me might mine more most much must my myself need never next no nor not nothing"
        " now of off often on once one only or other others ought our ours ourselves out over own"
        " part past per perhaps quite rather re really right said same saw say says see seem seems"
        " seen shall she should shouldn since so some something soon still such sure take taken"
        " takes tell than that the their theirs them themselves then there these they thing things"
        " think this those though thought through thus till to together told too took toward"
        " towards two under until unto up upon us ve very want wanted was wasn way we well went"
        " were weren what when where whether which while who whom whose why will with within"
        " without won would wouldn yes yet you your yours yourself three four five six seven eight"
        " nine ten first second third new old great good little big small back bit come came comes"
        " coming another around away always almost already along anything everything someone"
        " anyone everyone today tomorrow yesterday day days week weeks month months year years"
        " hour hours minute minutes morning evening night afternoon noon time times monday tuesday"
        " wednesday thursday friday saturday sunday january february march april june july august"
        " september october november december feel felt feeling put set find found left talk"
        " talked talking ask asked call called look looked bring brought start started stop try"
        " tried use used work worked working people person lots kind done able maybe actually"
        # the English of old diaries
        " thence hence hither thither whither hath doth thou thee thy thine art shalt wilt ye"
        " betimes mighty mightily whereof therein thereof therewith wherein whereby herein thereby"
        " hereby abroad home house bed rose lay lord’s lords sir mr mrs madam lord lady captain"
        " colonel doctor dr dined dinner supper supped ready meeting met forth among several"
        " presently pretty fine full find likewise other endeavour discourse discoursed by-and-by"
        " afterwards anon ere nay aye tis twas did’st god till ’tis ’twas without walked sat stayed"
        " staid sent sending spoke spoken desire desired pleased business things matter matters"
        " heard hear hearing men man woman women wife husband father mother brother sister"
        " daughter son child children friend friends boy girl company pleasure mind half hand hands"
        " head end ends reason account accounts late early towards room door side place places"
        " doing being having coming going sitting resolved agreed appointed according whole true"
        " world poor young dear troubled content glad joy happy sad afraid fear bad ill better best"
        " worse worst kindly truth answer bless blessed pray care believe hope find finding given"
        " showed shown show gave become became become speak turn turned live lived none alone"
        " vexed sorry pleasant fair merry expect brave infinite excellent excellently extraordinary"
        " trouble rest close news goes manner sure certain fetch carried carry lie leave"
        " please tells tell dark order change houre hours general town doubt among enough"
        " proposition deserve deserves whit posture deal purpose expects expense neither writing"
        " written wrote write read reading eat eating drink drinking break breaking letter called"
        " calling begin began begun hard open opened advice vow occasion fallen resolve joined"
        " beg chamber stairs purposely walk walking excuse mean means opinion busy quiet coach face"
        " fear fears journal journals visit heart eye eyes word words consideration"
        " wrong bear bears fellow fellows giving corner comfort exceeding angry idle idly mixing"
        " laid therefore condition sober dull perceive parts share shares chance case cases idea"
        " ideas kinds sense moment moments"
        # Portuguese
        " ao aos aquela aquelas aquele aqueles aquilo as até com como da das de dela delas dele"
        " deles depois do dos e ela elas ele eles em entre era eram essa essas esse esses esta"
        " estas este estes estou está estão eu foi fomos for foram fui há isso isto já lhe lhes"
        " lá mais mas me mesmo meu meus minha minhas muito muita muitos muitas na nas nem no nos"
        " nossa nossas nosso nossos num numa não nós o os ou para pela pelas pelo pelos por porque"
        " qual quando que quem se sem ser seu seus sido só sua suas são também te tem temos tenho"
        " ter teu tinha tive toda todas todo todos tu tua tudo um uma umas uns vai vou você vocês"
        " à às é hoje ontem amanhã dia dias semana semanas mês meses ano anos hora horas manhã"
        " tarde noite vez vezes coisa coisas bem mal bom boa bons boas grande pouco pouca fazer fiz"
        " fez feito ir estar estava estive esteve sempre nunca ainda agora aqui ali depois antes"
        " casa gente pessoa pessoas ficar fiquei ficou dois duas três outro outra outros outras"
        " cada algum alguma nada ver vi viu dizer disse sobre onde então assim tão apenas quase"
        " durante contra desde sob fim lado parte passar passei passou jantar almoço comigo"
    ).split()
)
"""Words that no theme is made of, folded as ``fold`` does."""


_SMALL_EN = frozenset("the and of to i is was in that it with my for we had are you on".split())
_SMALL_PT = frozenset(
    "de que e o um uma não com foi para os as da na em é se por eu meu minha estou muito".split()
)


@lru_cache(65_536)
def fold(word: str) -> str:
    """A word in lower case, straight apostrophes, without a possessive ending."""
    folded = unicodedata.normalize("NFC", word).lower().replace("’", "'")
    return folded[:-2] if folded.endswith("'s") else folded.strip("'")


_STOP = frozenset(fold(word) for word in STOP)


def is_stop(word: str) -> bool:
    """Whether a folded word says nothing by itself."""
    return word in _STOP or len(word) < 3


def plain(text: str) -> str:
    """The text without the marks of Markdown."""
    return _MARKUP.sub(lambda found: found[1] or "", text)


def sentences(text: str) -> list[str]:
    """The sentences of a text; an abbreviation ends none."""
    found: list[str] = []
    start = 0
    for end in _END.finditer(text):
        piece = text[start : end.start()].rstrip()
        last = _LAST_WORD.search(piece[-_LONGEST_ABBREVIATION:])
        if last and "\n\n" not in end[0]:
            word = last[1].lower().rstrip(".")
            if word in _ABBREVIATED or len(word) == 1:
                continue
        if piece.strip():
            found.append(" ".join(piece.split()))
        start = end.end()
    if rest := " ".join(text[start:].split()):
        found.append(rest)
    return found


def clauses(sentence: str) -> list[str]:
    """What stands between semicolons, colons and dashes."""
    return [piece for piece in _CLAUSE.split(sentence) if piece and piece.strip()]


def words(text: str) -> list[str]:
    """The folded words of a text, in order."""
    return [fold(word) for word in WORD.findall(text)]


def language_of(text: str) -> Language:
    """Which of the two languages a text is in, by its small words; English if by none."""
    said = words(text)
    return "pt" if sum(w in _SMALL_PT for w in said) > sum(w in _SMALL_EN for w in said) else "en"


def stem(word: str) -> str:
    """The word under which plural and singular are one."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word
