package event

import (
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// What is read stays as it is, in whatever language.
func TestReadable(t *testing.T) {
	for _, s := range []string{
		"日本語ファイル", "Grüße", "Übergrößenträger", "Ελληνικά", "Кириллица", "français ça œuf", "Tiếng Việt", "한국어", "中文（简体）.txt", "「引用」、。",
		"हिन्दी", "தமிழ்", "ไทยที่นี่", "עברית", "العربية", "ქართული", "Հայերեն", "አማርኛ", "བོད་ཡིག"[:9], "foo – bar", "naïve café", "x²", "①", "№ 5", "20 €", "30°",
		"🎉 party", "☀", "a'b", "fish & chips", "~/.ssh/id_rsa", "{a,b}", "$HOME", "日本語の ファイル",
	} {
		for where := inQuotes; where <= inBrackets; where++ {
			if got := string(appendReadable(nil, []byte(s), where)); got != s {
				t.Errorf("%q is shown as %s", s, got)
			}
		}
	}
}

// What drives, hides, turns or imitates is escaped, wherever it stands.
func TestEscaped(t *testing.T) {
	for s, want := range map[string]string{
		// Control characters: C0, DEL, C1.
		"\x00\x01\a\b\t\n\v\f\r\x1b\x7f": `\x00\x01\a\b\t\n\v\f\r\e\x7F`, "a\u0085b": `a\u{85}b`, "\u009b31m": `\u{9B}31m`, "\u0080\u009f": `\u{80}\u{9F}`,
		// Bytes that are not UTF-8: alone, cut, too long, a surrogate, too large.
		"\xff\xfe": `\xFF\xFE`, "latin1-\xe9": `latin1-\xE9`, "\xe6\x97": `\xE6\x97`, "\xc0\xaf": `\xC0\xAF`, "\xed\xa0\x80": `\xED\xA0\x80`, "\xf4\x90\x80\x80": `\xF4\x90\x80\x80`,
		"\x9b31m": `\x9B31m`,
		// Directions.
		"\u202aa\u202bb\u202cc\u202dd\u202ee": `\u{202A}a\u{202B}b\u{202C}c\u{202D}d\u{202E}e`, "\u2066\u2067\u2068\u2069": `\u{2066}\u{2067}\u{2068}\u{2069}`,
		"\u200e\u200f\u061c": `\u{200E}\u{200F}\u{61C}`,
		// Lines, paragraphs and blanks of other kinds.
		"a\u2028b\u2029": `a\u{2028}b\u{2029}`, "a\u00a0b": `a\u{A0}b`, "\u2003\u3000\u1680\u202f\u205f": `\u{2003}\u{3000}\u{1680}\u{202F}\u{205F}`,
		"a\u2800b": `a\u{2800}b`,
		// What shows nothing.
		"a\u200bb\u200cc\u200dd\ufeff": `a\u{200B}b\u{200C}c\u{200D}d\u{FEFF}`, "a\u00adb": `a\u{AD}b`, "\u2060\u2061\u2064\u180e": `\u{2060}\u{2061}\u{2064}\u{180E}`,
		"\u3164\uffa0\u115f": `\u{3164}\u{FFA0}\u{115F}`, "a\u034fb": `a\u{34F}b`, "日\ufe00\ufe0f": `日\u{FE00}\u{FE0F}`, "\U000e0041\U000e007f\U000e0100": `\u{E0041}\u{E007F}\u{E0100}`,
		"日\u1160": `日\u{1160}`, "क\u17b4": `क\u{17B4}`,
		// Combining marks without a letter of their script, and too many.
		"e\u0301": `e\u{301}`, "/\u0338x": `/\u{338}x`, "\u20dd": `\u{20DD}`, "a\u0336b\u0336": `a\u{336}b\u{336}`, "日\u3099": `日\u{3099}`,
		"\u0e48x": `\u{E48}x`, "x\u0947": `x\u{947}`, "\" \u0902": `\" \u{902}`, "ก" + strings.Repeat("\u0e49", 6): "ก" + strings.Repeat("\u0e49", 4) + `\u{E49}\u{E49}`,
		"\ua670": `\u{A670}`, "한\u0488": `한\u{488}`,
		// Pieces of the tree, and what looks like them.
		"│├└─": `\u{2502}\u{251C}\u{2514}\u{2500}`, "┃┣┗━║╠╚═╰╎": `\u{2503}\u{2523}\u{2517}\u{2501}\u{2551}\u{2560}\u{255A}\u{2550}\u{2570}\u{254E}`,
		"→ ⟶ ➔ ￫ 🠒 ⇒": `\u{2192} \u{27F6} \u{2794} \u{FFEB} \u{1F812} \u{21D2}`, "█▌■▏": `\u{2588}\u{258C}\u{25A0}\u{258F}`, "⎢⎿⏐￨❘¦": `\u{23A2}\u{23BF}\u{23D0}\u{FFE8}\u{2758}\u{A6}`,
		"ǀㅣ丨।": `\u{1C0}\u{3163}\u{4E28}\u{964}`, "\U0001fb6c": `\u{1FB6C}`, "⊢⌊∟": `\u{22A2}\u{230A}\u{221F}`, "⸺": `\u{2E3A}`,
		// Brackets and quotes of other scripts.
		"x］［〕⦌": `x\u{FF3D}\u{FF3B}\u{3015}\u{298C}`, "“x”„＂ʺ״〃❞": `\u{201C}x\u{201D}\u{201E}\u{FF02}\u{2BA}\u{5F4}\u{3003}\u{275E}`,
		// Private and unassigned.
		"\ue000\U0010ffff\u0378\ufffe": `\u{E000}\u{10FFFF}\u{378}\u{FFFE}`, "\ufffd": `\u{FFFD}`,
	} {
		for where := inQuotes; where <= inBrackets; where++ {
			want := want
			if where != inQuotes {
				want = strings.ReplaceAll(want, `\"`, `"`)
			}
			if got := string(appendReadable(nil, []byte(s), where)); got != want {
				t.Errorf("%d: %q is shown as %s, want %s", where, s, got, want)
			}
		}
	}
}

func TestContext(t *testing.T) {
	for _, c := range []struct {
		s, quoted, line, brackets string
	}{
		{`a"b\c#{d}`, `a\"b\\c\#{d}`, `a"b\c#{d}`, `a"b\c#{d}`},
		{"a b", "a b", "a b", "a b"},
		{" a ", " a ", `\x20a\x20`, `\x20a\x20`},
		{"a  b", "a  b", `a \x20b`, `a \x20b`},
		{"a    b", "a    b", `a \x20\x20\x20b`, `a \x20\x20\x20b`},
		{"a      b", `a    \x20\x20b`, `a \x20\x20\x20\x20\x20b`, `a \x20\x20\x20\x20\x20b`},
		{"sshd] [x", "sshd] [x", "sshd] [x", `sshd\x5D \x5Bx`},
		{"x  dur=9.9ms]", "x  dur=9.9ms]", `x \x20dur=9.9ms]`, `x \x20dur=9.9ms\x5D`},
		{"x dur=9.9ms", "x dur=9.9ms", `x\x20dur=9.9ms`, `x\x20dur=9.9ms`},
		{"a parent=1", "a parent=1", `a\x20parent=1`, `a\x20parent=1`},
		{"Array#[]=", "Array#[]=", "Array#[]=", "Array#[]="},
		{"f[abi:cxx11]", "f[abi:cxx11]", "f[abi:cxx11]", "f[abi:cxx11]"},
		{"a[b c]d", "a[b c]d", "a[b c]d", `a\x5Bb c\x5Dd`},
		{"[[x]]", "[[x]]", "[[x]]", `\x5B[x]\x5D`},
		{"a[", "a[", "a[", `a\x5B`},
		{"", "", "", ""},
		{" ", " ", `\x20`, `\x20`},
	} {
		for where, want := range []string{c.quoted, c.line, c.brackets} {
			if got := string(appendReadable(nil, []byte(c.s), context(where))); got != want {
				t.Errorf("%d: %q is shown as %s, want %s", where, c.s, got, want)
			}
		}
	}
	if got := string(AppendName(nil, []byte("a]"))); got != `a\x5D` {
		t.Errorf("a name: %s", got)
	}
}

// An event of a capture is escaped as vivarium does, one of viv's can be read.
func TestReadableEvent(t *testing.T) {
	ev := with(PathOpen, "path", "/日本/ü", "flags", 0)
	if got := string(AppendText(nil, ev)); got != `"/日本/ü" flags=O_RDONLY` {
		t.Errorf("live: %s", got)
	}
	ev.Origin = []byte{1}
	if got := string(AppendBaseText(nil, ev)); got != `"/\xE6\x97\xA5\xE6\x9C\xAC/\xC3\xBC"` {
		t.Errorf("captured: %s", got)
	}
}

var unbalanced = regexp.MustCompile(`\[[A-Za-z0-9:_.]*\]`)

// checkReadable checks what no text may hold, in whatever way it is made.
func checkReadable(t *testing.T, b []byte, where context) {
	t.Helper()
	checkText(t, b)
	s := string(b)
	for _, r := range s {
		if r > 0x7f && (!unicode.IsPrint(r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) || unicode.Is(unicode.Inherited, r) ||
			0x2190 <= r && r < 0x2600 || strings.ContainsRune("“”＂［］", r)) {
			t.Errorf("%d: %U in %q", where, r, s)
		}
	}
	switch {
	case where == inQuotes && strings.Contains(s, "     "):
		t.Errorf("five blanks in %q", s)
	case where != inQuotes && (strings.Contains(s, "  ") || strings.Trim(s, " ") != s):
		t.Errorf("loose blanks in %q", s)
	case where == inBrackets && strings.ContainsAny(unbalanced.ReplaceAllString(s, ""), "[]"):
		t.Errorf("a bracket in %q", s)
	}
	if q := strings.NewReplacer(`\\`, "", `\"`, "").Replace(s); where == inQuotes && strings.Contains(q, `"`) {
		t.Errorf("a quote in %q", s)
	}
}
