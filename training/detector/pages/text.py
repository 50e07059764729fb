"""Words and fonts for generated pages."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import ImageFont

FONTS = {  # role: files, each PACKAGE/path within it; the packages stand in requirements/fonts.txt
    "serif": (
        "rinoh_typeface_texgyretermes/texgyretermes-regular.otf",
        "rinoh_typeface_texgyreschola/texgyreschola-regular.otf",
        "rinoh_typeface_texgyrepagella/texgyrepagella-regular.otf",
        "rinoh_typeface_texgyrebonum/texgyrebonum-regular.otf",
        "fontpkg_eb_garamond/files/EBGaramond[wght].ttf",
        "fontpkg_pt_serif/files/PT_Serif-Web-Regular.ttf",
        "matplotlib/mpl-data/fonts/ttf/STIXGeneral.ttf",
        "matplotlib/mpl-data/fonts/ttf/DejaVuSerif.ttf",
    ),
    "sans": (
        "rinoh_typeface_texgyreheros/texgyreheros-regular.otf",
        "rinoh_typeface_texgyreheros/texgyreheroscn-regular.otf",
        "rinoh_typeface_texgyreadventor/texgyreadventor-regular.otf",
        "fontpkg_arimo/files/Arimo[wght].ttf",
        "fontpkg_cabin/files/Cabin[wdth,wght].ttf",
        "fontpkg_open_sans/files/OpenSans[wdth,wght].ttf",
        "fontpkg_pt_sans/files/PT_Sans-Web-Regular.ttf",
        "fontpkg_quicksand/files/Quicksand[wght].ttf",
        "matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf",
    ),
    "typewriter": (
        "rinoh_typeface_texgyrecursor/texgyrecursor-regular.otf",
        "rinoh_typeface_texgyrecursor/texgyrecursor-bold.otf",
        "fontpkg_ibm_plex_mono/files/IBMPlexMono-Regular.ttf",
        "fontpkg_ibm_plex_mono/files/IBMPlexMono-Medium.ttf",
        "fontpkg_inconsolata/files/Inconsolata[wdth,wght].ttf",
        "matplotlib/mpl-data/fonts/ttf/DejaVuSansMono.ttf",
    ),
    "condensed": (
        "rinoh_typeface_texgyreheros/texgyreheroscn-regular.otf",
        "rinoh_typeface_texgyreheros/texgyreheroscn-bold.otf",
        "fontpkg_barlow_condensed/files/BarlowCondensed-SemiBold.ttf",
        "fontpkg_oswald/files/Oswald[wght].ttf",
        "fontpkg_pt_sans_narrow/files/PT_Sans-Narrow-Web-Bold.ttf",
    ),
    "slab": (
        "fontpkg_alfa_slab_one/files/AlfaSlabOne-Regular.ttf",
        "matplotlib/mpl-data/fonts/ttf/DejaVuSerif-Bold.ttf",
        "fontpkg_roboto_slab/files/RobotoSlab[wght].ttf",
        "fontpkg_zilla_slab/files/ZillaSlab-Bold.ttf",
    ),
    "bold": (
        "rinoh_typeface_texgyreheros/texgyreheros-bold.otf",
        "rinoh_typeface_texgyreheros/texgyreheroscn-bold.otf",
        "rinoh_typeface_texgyretermes/texgyretermes-bold.otf",
        "rinoh_typeface_texgyreadventor/texgyreadventor-bold.otf",
        "rinoh_typeface_texgyrebonum/texgyrebonum-bold.otf",
        "rinoh_typeface_texgyrecursor/texgyrecursor-bold.otf",
        "fontpkg_archivo_black/files/ArchivoBlack-Regular.ttf",
        "fontpkg_pt_sans/files/PT_Sans-Web-Bold.ttf",
        "fontpkg_pt_serif/files/PT_Serif-Web-Bold.ttf",
        "fontpkg_russo_one/files/RussoOne-Regular.ttf",
        "fontpkg_zilla_slab/files/ZillaSlab-Bold.ttf",
        "matplotlib/mpl-data/fonts/ttf/DejaVuSans-Bold.ttf",
    ),
    "script": (
        "rinoh_typeface_texgyrechorus/texgyrechorus-mediumitalic.otf",
        "fontpkg_dancing_script/files/DancingScript[wght].ttf",
        "fontpkg_great_vibes/files/GreatVibes-Regular.ttf",
        "fontpkg_lobster/files/Lobster-Regular.ttf",
        "fontpkg_oleo_script/files/OleoScript-Regular.ttf",
        "fontpkg_satisfy/files/Satisfy-Regular.ttf",
        "fontpkg_yellowtail/files/Yellowtail-Regular.ttf",
    ),
    "hand": (
        "font_amatic_sc/files/AmaticSC-Regular.ttf",
        "font_intuitive/files/Intuitive.ttf",
        "fontpkg_caveat/files/Caveat[wght].ttf",
        "fontpkg_delius/files/Delius-Regular.ttf",
        "fontpkg_indie_flower/files/IndieFlower-Regular.ttf",
        "fontpkg_kalam/files/Kalam-Light.ttf",
        "fontpkg_kalam/files/Kalam-Regular.ttf",
        "fontpkg_permanent_marker/files/PermanentMarker-Regular.ttf",
        "fontpkg_shadows_into_light/files/ShadowsIntoLight.ttf",
        "fontpkg_zeyada/files/Zeyada.ttf",
    ),
    "cyrillic": (
        "fontpkg_arimo/files/Arimo[wght].ttf",
        "fontpkg_open_sans/files/OpenSans[wdth,wght].ttf",
        "fontpkg_pt_sans/files/PT_Sans-Web-Regular.ttf",
        "fontpkg_pt_sans_narrow/files/PT_Sans-Narrow-Web-Regular.ttf",
        "fontpkg_pt_serif/files/PT_Serif-Web-Regular.ttf",
        "matplotlib/mpl-data/fonts/ttf/STIXGeneral.ttf",
        "matplotlib/mpl-data/fonts/ttf/DejaVuSans.ttf",
    ),
    "cyrillic_bold": (
        "fontpkg_pt_sans/files/PT_Sans-Web-Bold.ttf",
        "fontpkg_pt_sans_narrow/files/PT_Sans-Narrow-Web-Bold.ttf",
        "fontpkg_pt_serif/files/PT_Serif-Web-Bold.ttf",
        "fontpkg_russo_one/files/RussoOne-Regular.ttf",
        "matplotlib/mpl-data/fonts/ttf/DejaVuSans-Bold.ttf",
        "matplotlib/mpl-data/fonts/ttf/DejaVuSerif-Bold.ttf",
    ),
    "devanagari": ("fontpkg_noto_sans_devanagari/files/NotoSansDevanagari[wdth,wght].ttf",),
    "arabic": ("fontpkg_amiri/files/Amiri-Regular.ttf",),
    "thai": (
        "fontpkg_noto_sans_thai/files/NotoSansThai[wdth,wght].ttf",
        "fontpkg_sarabun/files/Sarabun-Regular.ttf",
    ),
    "chinese": ("noto_cjk_sans_jp_regular/NotoSansCJKjp-Regular.otf",),
}

WORDS = {
    "en": (
        "the of and to in for is on that by this with you it not or be are from at as your all have"
        " new more was we will home can us about if page my has search free but our one other do no"
        " information time they site he up may what which their news out use any there see only so"
        " his when contact here business who web also now help get view online first am been would"
        " were services some these click its like service than find price date back top people had"
        " list name just over state year day into email two health world next used go work last"
        " agreement account balance payment borrower lender insurance premium product quarterly"
        " report research laboratory committee enclosed regarding reference pursuant section clause"
        " hereby undersigned interest principal customer branch manager application approved"
    ),
    "fr": (
        "le la de et les des en un une du que est pour qui dans a par plus pas au sur ne se ce sont"
        " il avec son aux ont mais comme nous vous été compte banque contrat société conditions"
        " générales paiement facture référence monsieur madame veuillez agréer distinguées fait"
        " lettre dossier demande signature date lieu montant échéance prêt assurance siège capital"
    ),
    "de": (
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es"
        " an werden aus er hat dass sie nach wird bei einer um am sind noch wie einem über Vertrag"
        " Rechnung Betrag Konto Bank Unterschrift Datum Kunde Antrag Versicherung gemäß Anlage"
        " Geschäftsführer Betreff Sehr geehrte Damen und Herren freundlichen Grüßen Zahlung Frist"
    ),
    "es": (
        "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus"
        " le ha me si sin sobre este ya entre cuando todo esta ser son dos también fue había cuenta"
        " banco contrato préstamo pago factura fecha firma solicitud cliente seguro importe plazo"
    ),
    "pt": (
        "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao"
        " ele das tem à seu sua ou ser quando muito conta banco contrato empréstimo pagamento"
        " fatura data assinatura cliente pedido seguro valor prazo testemunha cartório declaração"
    ),
    "hi": (
        "और के है में की से का को पर यह बैंक खाता ऋण आवेदन हस्ताक्षर दिनांक नाम पता शाखा राशि"
        " शर्तें ग्राहक भुगतान बीमा प्रमाण पत्र सरकार भारत कार्यालय निवासी घोषणा करता हूँ"
    ),
    "ar": (
        "من في على إلى هذا التي أن البنك حساب قرض توقيع تاريخ اسم عقد طلب دفع فاتورة شركة مدير عام"
    ),
    "th": ("และ ใน ของ ที่ เป็น การ ธนาคาร บัญชี สัญญา ลายมือชื่อ วันที่ ชื่อ เงินกู้ ลูกค้า สาขา จำนวน"),
    "ru": (
        "и в не на что с по как от к из за для договор общество ограниченной ответственностью счёт"
        " директор подпись печать дата сторона исполнитель заказчик акт приёма передачи настоящий"
        " город область федерация министерство управление главный бухгалтер сумма рублей оплата"
        " банк адрес телефон организация учреждение обязательства согласно приложение имеет право"
    ),
    "pl": (
        "i w na z do się nie jest że o od po przez dla jak za oraz umowa faktura sprzedaż płatność"
        " spółka kwota należność bank rachunek data podpis zamówienie dostawca odbiorca ilość cena"
        " wartość świadczenie ubezpieczenie wniosek żądanie zgodnie ustawy następujące łącznie"
    ),
    "cs": (
        "a v na se z do je že o s pro od po jako nebo smlouva faktura účet částka cena datum podpis"
        " razítko dodavatel odběratel množství splatnost příjemce žádost společnost úhrada služby"
        " zboží celkem základ daně převodem hotově vystavil schválil účel dle přílohy"
    ),
    "zh": (
        "银行 账户 合同 贷款 签名 日期 姓名 公司 经理 申请 付款 发票 条款 保险"
        " 地址 协会 证明 部门 年 月 日"
    ),
}
BODY_FONTS = {
    "hi": "devanagari", "ar": "arabic", "th": "thai", "zh": "chinese", "ru": "cyrillic",
}  # fmt: skip
LANGUAGES = {
    "en": 10, "fr": 1, "de": 1.5, "es": 1, "pt": 1, "hi": 1, "ar": 0.5, "th": 0.5, "zh": 0.7,
    "ru": 2.5, "pl": 1.2, "cs": 1.2,
}  # fmt: skip
NAMES = (
    "James Mary Robert Linda Michael Susan David Karen William Nancy Richard Lisa Thomas Margaret"
    " Daniel Priya Rahul Anita Vikram Sunita Arjun Meera Carlos Ana Luis Sofia Pedro Juan Hans"
    " Ingrid Klaus Pierre Claire Jean Yusuf Fatima Omar Chen Wei Li Somchai Niran"
)
SURNAMES = (
    "Smith Johnson Williams Brown Jones Garcia Miller Davis Wilson Anderson Taylor Moore Jackson"
    " Martin Lee Thompson White Harris Clark Lewis Walker Hall Young King Wright Hill Scott Green"
    " Sharma Patel Singh Gupta Iyer Nair Reddy Das Silva Santos Oliveira Costa Schmidt Weber"
    " Fischer Dubois Moreau Haddad Rahman Zhang Wang Ramos Okafor"
)
TITLES = (
    "Manager|Vice President|Director|General Counsel|Secretary|Branch Manager|Chief Executive"
    " Officer|Authorised Signatory|Research Director|Treasurer|Partner|Chairman|Notary Public"
)
COMPANY_WORDS = (
    "Northern Harbour Summit United Royal National General Pacific Meridian Crown Standard Atlas"
    " Liberty Central Oakwood Sterling Global First Union Heritage Alpine Imperial Delta Orient"
)
COMPANY_KINDS = (
    "Bank|Trust|Insurance Company|Industries|Laboratories|& Co.|Corporation|Research Institute|"
    "Finance Ltd|Holdings|University|Association|Department of State|Foundation|Chemical Company"
)
EUROPEAN = (
    "Dvořák Novák Łukasz Wójcik Żak Šimek Müller Schröder Kovács Nagy Horváth Popović Đorđević"
    " Ionescu Ștefan Öztürk Yılmaz Jørgensen Åberg Muñoz Peña Gonçalves Beňo Ružička"
)
EUROPEAN_KINDS = (
    "s.r.o.|a.s.|Sp. z o.o.|GmbH|GmbH & Co. KG|AG|S.A.|SARL|S.r.l.|d.o.o.|Kft.|S.L.|Lda|B.V.|OÜ|AB"
)
EUROPEAN_TRADES = (
    "Stavební|Elektro|Dřevo|Účetní|Auto|Bau|Möbel|Maschinenbau|Spedition|Usługi|Handel|Budowa|"
    "Instalacje|Transport|Électricité|Menuiserie|Boulangerie|Construções|Tapicerías|Épület|Gradnja"
)
CYRILLIC_NAMES = (
    "Иванов Петров Смирнов Кузнецов Попов Соколов Лебедев Новиков Морозов Волков Зайцева Павлова"
    " Семёнова Голубева Виноградов Богданова Воробьёв Фёдоров Михайлов Ющенко Шевчук"
)
CYRILLIC_OFFICES = (
    "ОБЩЕСТВО С ОГРАНИЧЕННОЙ ОТВЕТСТВЕННОСТЬЮ|МИНИСТЕРСТВО ОБРАЗОВАНИЯ|АДМИНИСТРАЦИЯ ГОРОДА|"
    "МУНИЦИПАЛЬНОЕ УЧРЕЖДЕНИЕ|РОССИЙСКАЯ ФЕДЕРАЦИЯ|ГОСУДАРСТВЕННОЕ УЧРЕЖДЕНИЕ|НОТАРИУС ГОРОДА|"
    "АКЦИОНЕРНОЕ ОБЩЕСТВО|УПРАВЛЕНИЕ ФЕДЕРАЛЬНОЙ СЛУЖБЫ|ДЕТСКИЙ САД|СРЕДНЯЯ ШКОЛА"
)
CYRILLIC_CITIES = "Москва Казань Самара Томск Пермь Омск Уфа Тверь Киров Брянск Минск Одеса София"
MONTHS = "January February March April May June July August September October November December"


def font_file(path: str) -> Path:
    """Where a file of FONTS lies. FileNotFoundError names the package if it is not installed."""
    package, _, within = path.partition("/")
    found = find_spec(package)
    file = Path(*(found.submodule_search_locations or ()), within) if found else None
    if file is None or not file.is_file():
        raise FileNotFoundError(
            f"font {path}: {package.replace('_', '-')} of requirements/fonts.txt is not installed;"
            " run: pip install --no-deps -r requirements/fonts.txt"
        )
    return file


@lru_cache(maxsize=4096)
def font(path: str, size: int) -> ImageFont.FreeTypeFont:
    """A font of FONTS at `size` px. FileNotFoundError names a package that is missing."""
    return ImageFont.truetype(str(font_file(path)), max(4, size))


def fitting(lines: Sequence[str], path: str, width: float, tallest: float) -> int:
    """The font size in px at which all lines fit `width` px; from 5 to `tallest`."""
    longest = max((font(path, 40).getlength(line) for line in lines), default=1.0)
    return int(max(5, min(40 * width / max(longest, 1), tallest)))


def pick_font(role: str, rng: np.random.Generator) -> str:
    """One file of `role`, a key of FONTS."""
    return FONTS[role][rng.integers(len(FONTS[role]))]


@lru_cache(maxsize=16)
def words(language: str) -> tuple[str, ...]:
    return tuple(WORDS[language].split())


def sentence(language: str, count: int, rng: np.random.Generator) -> str:
    """`count` words, the first capitalised, with a comma now and then and a full stop."""
    picks = [words(language)[i] for i in rng.integers(len(words(language)), size=count)]
    for i in range(4, count - 2, 7):
        picks[i] += ","
    return " ".join(picks).capitalize() + "."


def choice(options: str, rng: np.random.Generator, separator: str = " ") -> str:
    """One of the options in a `separator`-joined string."""
    parts = options.split(separator)
    return parts[rng.integers(len(parts))]


def person(rng: np.random.Generator) -> str:
    middle = f" {'ABCDEHJKLMRSTW'[rng.integers(14)]}." if rng.random() < 0.4 else ""
    return f"{choice(NAMES, rng)}{middle} {choice(SURNAMES, rng)}"


def company(rng: np.random.Generator) -> str:
    first = choice(COMPANY_WORDS, rng) if rng.random() < 0.6 else choice(SURNAMES, rng)
    return f"{first} {choice(COMPANY_KINDS, rng, '|')}"


def european_company(rng: np.random.Generator) -> str:
    name = choice(EUROPEAN, rng) if rng.random() < 0.6 else choice(COMPANY_WORDS, rng)
    trade = f" {choice(EUROPEAN_TRADES, rng, '|')}" if rng.random() < 0.5 else ""
    return f"{name}{trade} {choice(EUROPEAN_KINDS, rng, '|')}"


def tax_number(rng: np.random.Generator) -> str:
    """A line with a number of a company's, as stamps and invoices print it."""
    digits = int(rng.integers(8, 13))
    label = choice("IČO:|DIČ: CZ|NIP|USt-IdNr. DE|VAT No.|TVA FR|C.I.F. B|Reg. No.|GSTIN", rng, "|")
    return f"{label} {number(digits, rng)}"


def phone(rng: np.random.Generator) -> str:
    label = choice("Tel.|Tel:|Mob.|Fax|Ph.|T", rng, "|")
    return f"{label} +{rng.integers(1, 99)} {number(3, rng)} {number(3, rng)} {number(3, rng)}"


def site(name: str, rng: np.random.Generator) -> str:
    """An e-mail or web address of `name`."""
    plain = "".join(sign for sign in name.split()[0].lower() if sign.isascii() and sign.isalpha())
    host = f"{plain or 'office'}.{choice('com cz pl de fr in eu org', rng)}"
    return f"{choice('info office sales', rng)}@{host}" if rng.random() < 0.6 else f"www.{host}"


def date(rng: np.random.Generator) -> str:
    """A date between 1930 and 2026 in one of five spellings."""
    day, year = int(rng.integers(1, 29)), int(rng.integers(1930, 2027))
    month = int(rng.integers(12))
    name = MONTHS.split()[month]
    return (
        f"{name} {day}, {year}",
        f"{day} {name} {year}",
        f"{day:02d}/{month + 1:02d}/{year}",
        f"{name[:3].upper()} {day} {year}",
        f"{day:02d}.{month + 1:02d}.{year % 100:02d}",
    )[rng.integers(5)]


def stamp_date(rng: np.random.Generator) -> str:
    """A date as a dater's bands print it: JUL 27 1992, 14 AUG 2018, - 6 APR 2013."""
    month = MONTHS.split()[rng.integers(12)][:3].upper()
    day, year = int(rng.integers(1, 29)), int(rng.integers(1960, 2027))
    return (
        f"{month} {day} {year}",
        f"{day} {month} {year}",
        f"{day:2d}. {rng.integers(1, 13)}. {year}",
        f"{day // 10} {day % 10} {month} {year}",
        f"{month} - {day % 10} {year}",
    )[rng.integers(5)]


def short_date(rng: np.random.Generator) -> str:
    """A date of this or the last century in numbers, as people jot it: 3/26/90, 12-15-86."""
    sign = "/" if rng.random() < 0.75 else "-"
    return sign.join(str(rng.integers(*span)) for span in ((1, 13), (1, 32), (10, 100)))


def number(digits: int, rng: np.random.Generator) -> str:
    return "".join(str(d) for d in rng.integers(10, size=digits))


def address(rng: np.random.Generator) -> str:
    street = choice("Street Avenue Road Lane Plaza Boulevard", rng)
    return f"{rng.integers(1, 2000)} {choice(SURNAMES, rng)} {street}, {number(5, rng)}"
