"""Five hundred strings in many scripts, for comparing tokenisers: sentences in several shapes, and
what is odd in itself. The same ones every time.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

# Said for this purpose; each about a small thing of a day.
SENTENCES = (
    "The cat sleeps under the old table, doesn't it?",
    "We'll meet at 10:45 near gate 7B, unless it's raining.",
    "Größere Äpfel kosten 3,50 € auf dem Wochenmarkt in Köln.",
    "L'été dernier, j'ai goûté une crêpe à l'œuf près de Sète.",
    "El niño pequeño comió piñones, ¿verdad? ¡Qué día más raro!",
    "Amanhã não há pão na mercearia do João, só bolachas.",
    "Perché il caffè è già freddo? Chissà.",
    "De fietsen staan vóór het huis van mijn tante.",
    "Smörgåsen på bordet är min, sade Åsa till Örjan.",
    "Rødgrød med fløde smager bedst på en kølig aften.",
    "Þessi köttur býr á Íslandi og veiðir fisk í ánni.",
    "Yö oli pitkä, ja järvellä soudettiin hiljaa.",
    "Őszi este teát főztünk, és hűvös szél fújt.",
    "Źle się stało, że łódź odpłynęła bez żagli.",
    "Příliš brzy jsme vyšli, tráva byla ještě mokrá.",
    "Șoarecele a fugit în grădină după o bucată de brânză.",
    "İstanbul'da ılık bir ağaç gölgesinde çay içtik.",
    "Trời hôm nay đẹp quá, chúng ta đi dạo bên hồ nhé.",
    "Kesho asubuhi nitanunua ndizi na maji sokoni.",
    "Ó ní kí a jẹun kí ó tó ṣú.",
    "Сегодня утром мы пили чай с вареньем, а потом гуляли.",
    "Їжак знайшов яблуко під ґанком.",
    "Днес ще вали дъжд над Витоша.",
    "Το πρωί ήπιαμε καφέ δίπλα στη θάλασσα.",
    "Այսօր արևոտ է, և մենք գնում ենք այգի։",
    "დღეს კარგი ამინდია და ბაღში ვსეირნობთ.",
    "שָׁלוֹם, הלכנו היום לשוק לקנות תפוחים.",
    "ذهبنا إلى السوق صباحًا واشترينا ٣ كيلو من التفاح.",
    "امروز هوا خوب است؛ می‌رویم کنار رودخانه.",
    "آج ہم نے باغ میں چائے پی۔",
    "आज सुबह हमने बाज़ार से ताज़े फल ख़रीदे।",
    "আজ সকালে আমরা নদীর ধারে হাঁটলাম।",
    "இன்று காலை நாங்கள் தோட்டத்தில் நடந்தோம்.",
    "ఈ రోజు మేము తోటలో మామిడి పండ్లు తిన్నాము.",
    "ಇಂದು ಮಳೆ ಬಂದು ರಸ್ತೆ ಒದ್ದೆಯಾಗಿದೆ.",
    "ഇന്ന് രാവിലെ ഞങ്ങൾ കടൽത്തീരത്ത് നടന്നു.",
    "අද උදේ අපි තේ බිව්වා.",
    "วันนี้อากาศดี เราไปเดินเล่นริมแม่น้ำ",
    "ມື້ນີ້ພວກເຮົາໄປຕະຫຼາດ.",
    "ថ្ងៃនេះយើងទៅផ្សារទិញផ្លែស្វាយ។",
    "ဒီနေ့ မိုးရွာနေတယ်။",
    "བོད་ཇ་འཐུང་ནས་ལམ་ལ་འགྲོ།",
    "今天早上我们在公园里喝了三杯热茶。",
    "昨晚下雨,街道還是濕的。",
    "今日はカフェで「抹茶ラテ」を2杯飲みました。",
    "ひらがなとカタカナと漢字が混ざる文。",
    "오늘 아침에 우리는 강가를 천천히 걸었어요.",
    "ᎣᏏᏲ, ᎪᎯ ᎢᎦ ᎤᏬᏚ.",
    "ዛሬ ጠዋት ቡና ጠጣን።",
    "ᠥᠨᠥᠳᠥᠷ ᠰᠠᠶᠢᠨ ᠡᠳᠦᠷ.",
)

ODD = (
    "",
    " ",
    "  ",
    "   \t\t ",
    "\n",
    "\n\n\n",
    "\r\n\r\n x\r\n",
    "\t\n \n\t x",
    "a\u00a0b\u2003c\u3000d\u200be\u2028f\u2029g\u0085h\x0bi\x0cj",
    "trailing   ",
    "   leading",
    " in  between   words    grow     here",
    "x\n  y\n    z\n\ty\n\t\tz\n",
    "\x00a\x00b\x00\x00c",
    "\x01\x02\x1b[31mred\x1b[0m\x7f",
    "\ufeffbom",
    "1",
    "12",
    "123",
    "1234",
    "12345678901234567890",
    "1,234,567.89",
    "3.14159e-10 0xDEADBEEF 0b1010 1_000",
    "2024-02-29T23:59:60+05:30",
    "½ ¾ ⅓ x² y₃ № 5 ① ⑩ Ⅻ ⅷ",
    "١٢٣٤ ۴۵۶ १२३४ ๑๒๓ １２３ 𝟙𝟚𝟛 𝟏𝟐𝟑",
    "v1.2.3-rc.4+build.5",
    "+1 (555) 010-9999",
    "192.168.0.1:8080/::1",
    "$5 €6 £7 ¥8 ₹9 ₿1 50% 20‰ ±3°",
    "I'm you're he's we've they'll she'd can't",
    "I'M YOU'RE HE'S WE'VE THEY'LL SHE'D CAN'T",
    "I’m you’re he’s we’ve “quoted” ‘too’",
    "'s't're've'm'll'd'x 's 'S'T",
    "o'clock 'tis rock'n'roll l'S d'Une 'ſ ’ſ K'ſ",
    "!!! ??? ... -- --- ___ *** ### $$$ %%% ^^^ &&& (((()))) [[]] {{}} <<>>",
    "!?\n\n!!\n \n...\r\n\r\n--\n/\n//\n",
    "a,b;c:d.e!f?g(h)i[j]k{l}m<n>o/p\\q|r~s`t@u#v$w%x^y&z*",
    "…—–«»‹›„“”‚‘’¡¿§¶†‡•·",
    "，。！？；：（）【】《》「」『』、",
    "←↑→↓ ∀∃∈∉ ≤≥≠≈ ∑∏∫√∞ ⊕⊗ ▲▼◆● ─│┌┐ █▓▒░",
    "😀",
    "😀😃😄 😁",
    "👍🏽👩🏿‍🚀👨‍👩‍👧‍👦🏳️‍🌈🇩🇪🇫🇷🇯🇵",
    "❤️ ❤ ☀️ ☎︎ 1️⃣ #️⃣ ©️ ™",
    "🧑‍🤝‍🧑text🙂text 🙃 text",
    "🤷‍♀️\n🤷‍♂️",
    "e\u0301 n\u0303 o\u0308 a\u030a\u0301 \u0301alone",
    "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!",
    "각 각 가 ㄱㅏㄱ ﬁ ﬀ ǆ ǅ Ǆ ß ẞ ı İ",
    "𝒜𝓁𝓅𝒽𝒶 𝔄𝔩𝔭𝔥𝔞 𝖠𝗅𝗉𝗁𝖺 🅰🅱 ⓐⓑ ａｂｃ",
    "𐌰𐌱𐌲 𓀀𓁐 𠀀𠀁 𪜀 𝄞 🀄",
    "\ue000\uf8ff \U000f0000 \ufffd \ufffe \U0010ffff",
    "ᵃᵇᶜ ʰʷʲ ªº ˈˌ ʼ",
    "नि क्ष श्री र्क ज़ कि॰",
    "กำ น้ำ ผู้ เก่ง",
    "\u202eright to left\u202c \u2066isolated\u2069",
    "نص with English ونص مرة أخرى 42 %",
    "for (int i = 0; i < n; ++i) {\n\tsum += a[i] * b[i]; // dot\n}\n",
    "def f(x: int) -> str:\n    return f'{x!r:>10}'\n\n\nclass A(B): ...\n",
    "SELECT * FROM \"t\" WHERE a >= 10 AND b LIKE '%x_' ORDER BY 1;",
    "<div class=\"a b\" id='c'>&nbsp;&amp;<br/></div><!-- x -->",
    '{"key": [1, 2.5, -3e4, true, null, "\\u00e9\\n"], "k2": {}}',
    "#include <stdio.h>\n#define MAX(a,b) ((a)>(b)?(a):(b))\n",
    "let f = |x| x?.y ?? z; const g = async () => { await h(); };",
    "\\documentclass{article} $\\frac{a}{b}^{2}_{i,j}$ \\\\ %comment",
    "https://example.org/a/b?c=d&e=%20f#g user.name+tag@example.org",
    "C:\\Users\\me\\file.txt ~/.config/x /usr/bin/env --long-flag=-1 -abc",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case dot.case mixedUPPERlower",
    "HTTPServerError XMLHttpRequest iPhone eBay McDonald ÄÖÜäöü ÉCOLEécole ЁЖёж ΑΒΓαβγ",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "abababababababababababababababab",
    "ooooooOOOOOOoooooo!!!!!!??????",
    "qzxjvkwpqzxjvkwp xqzj",
    "supercalifragilistic antidisestablishmentarianism",
    "Donaudampfschifffahrtsgesellschaftskapitän",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|><|im_end|><|endoftext|>",
    "a<|endoftext|> b <|endoftext|>\nc",
    "<|im_start |> < |im_end|> <|im_end| > <|unknown|> </s> <s> [INST] <<SYS>>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>",
    "<start_of_turn>user\nHi<end_of_turn>\n",
    "<s>[INST] Hi [/INST] Hello</s>",
    "<think>\nhm\n</think>\n\nyes <tool_call>{}</tool_call>",
    "▁ Ġ Ċ ĉ <0x0A> ##ing @@",
    "| a | b |\n|---|:-:|\n| 1 | 2 |\n",
    "# Title\n\n- item *one*\n- item **two**\n  1. `three`\n\n> quote\n",
    "- [ ] task\n- [x] done\n\n---\n\n```python\nprint('hi')\n```\n",
    "Q: why?\nA: because.\n\nQ: why not?\nA:",
    "tab\tseparated\tvalues\n1\t2\t3\n",
    "a b  c   d    e     f      g       h        i",
    "end.Start end.  Start end .Start,again;and:again",
    "A.B.C. e.g. i.e. etc... Mr. Ms. Dr. 5 p.m.",
    "10% of 1/3 = 3.33…, i.e. ~3⅓",
    "x=1;y=-2;z=+3;w=x**y//z%2<<1>>1&~0|1^1",
    "中文English中文123中文，English。",
    "日本語123テスト４５６です。。。",
    "한국어English한국어123입니다!!",
    "русскийenglishрусский123русский",
    "עבריתEnglishעברית123",
)


def _turn(sentence: str) -> str:
    return f"<|im_start|>user\n{sentence}<|im_end|>\n<|im_start|>assistant\n"


def _spread(sentence: str) -> str:
    return "\n\n  " + sentence.replace(" ", "  \n").replace(",", ",\t") + " \n \n"


def _numbered(sentence: str) -> str:
    return "".join(f"{number * 37}.{word}!? " for number, word in enumerate(sentence.split()))


def _code(sentence: str) -> str:
    return f'    print("{sentence}")  # {sentence.upper()}\n'


def _apart(sentence: str) -> str:
    return unicodedata.normalize("NFD", sentence) + " 👩‍🔬🇪🇺"


def _run_together(sentence: str) -> str:
    return "".join(sentence.title().split()) + "'S " + sentence.swapcase()[::-1]


SHAPES: tuple[Callable[[str], str], ...] = (
    str,
    _turn,
    _spread,
    _numbered,
    _code,
    _apart,
    _run_together,
    lambda sentence: f" {sentence}'ll<|endoftext|>{sentence[:9]}",
)

CORPUS: tuple[str, ...] = (
    *ODD,
    *(shape(sentence) for shape in SHAPES for sentence in SENTENCES),
)
