package mask

// shapes are how some kinds of token begin; at least this many letters, digits,
// - and _ follow.
var shapes = []struct {
	prefix string
	follow int
}{
	{"ghp_", 20}, {"gho_", 20}, {"ghu_", 20}, {"ghs_", 20}, {"ghr_", 20}, {"github_pat_", 20}, {"glpat-", 16},
	{"xoxb-", 16}, {"xoxp-", 16}, {"xoxa-", 16}, {"xapp-", 16}, {"sk_live_", 16}, {"rk_live_", 16}, {"sk-", 32},
	{"npm_", 32}, {"pypi-", 32}, {"hvs.", 20}, {"hvb.", 20}, {"eyJ", 32}, {"AKIA", 16}, {"ASIA", 16}, {"ya29.", 20},
	{"AIza", 35}, {"xoxs-", 16}, {"xoxr-", 16}, {"xoxe-", 16}, {"sk_test_", 16}, {"rk_test_", 16}, {"whsec_", 24}, {"SG.", 22},
	{"hf_", 30}, {"glptt-", 20}, {"glrt-", 20}, {"gldt-", 20}, {"dop_v1_", 32}, {"shpat_", 32}, {"dckr_pat_", 20},
}

// appendShaped appends text without what has a token's shape.
func appendShaped(b, text []byte) []byte {
	for i := 0; i < len(text); {
		n := 0
		if i == 0 || !wordByte(text[i-1]) {
			n = shaped(text[i:])
		}
		if n > 0 {
			b = append(b, Hidden...)
			i += n
			continue
		}
		b = append(b, text[i])
		i++
	}
	return b
}

// shaped is the length of the token that text begins with, or 0.
func shaped(text []byte) int {
	for _, s := range shapes {
		if len(text) < len(s.prefix)+s.follow || string(text[:len(s.prefix)]) != s.prefix {
			continue
		}
		n := len(s.prefix)
		for n < len(text) && (wordByte(text[n]) || text[n] == '.' && (s.prefix == "eyJ" || s.prefix == "SG.")) {
			n++
		}
		if n >= len(s.prefix)+s.follow {
			return n
		}
	}
	return 0
}
