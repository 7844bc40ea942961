package mask

import "bytes"

// tokens has the prefixes of some kinds of tokens, and the minimum number of letters,
// digits, - and _ (and of dots, if dots is set) that follow.
var tokens = []struct {
	prefix string
	follow int
	dots   bool
}{
	// GitHub, GitLab, Bitbucket and Atlassian
	{"ghp_", 20, false}, {"gho_", 20, false}, {"ghu_", 20, false}, {"ghs_", 20, false}, {"ghr_", 20, false}, {"github_pat_", 20, false},
	{"glpat-", 16, true}, {"glptt-", 20, false}, {"glrt-", 20, true}, {"gldt-", 20, false}, {"glsoat-", 20, false}, {"glft-", 20, false},
	{"glimt-", 20, false}, {"glagent-", 20, false}, {"glcbt-", 16, false}, {"gloas-", 20, false}, {"ATBB", 28, false}, {"ATATT3x", 20, false}, {"ATCTT3x", 20, false},
	// chats
	{"xoxb-", 16, false}, {"xoxp-", 16, false}, {"xoxa-", 16, false}, {"xoxs-", 16, false}, {"xoxr-", 16, false}, {"xoxe-", 16, false},
	{"xoxe.xoxp-", 16, false}, {"xoxe.xoxb-", 16, false}, {"xoxc-", 16, false}, {"xoxd-", 16, false}, {"xapp-", 16, false},
	// payments and shops
	{"sk_live_", 16, false}, {"sk_test_", 16, false}, {"rk_live_", 16, false}, {"rk_test_", 16, false}, {"whsec_", 24, false},
	{"sq0atp-", 20, false}, {"sq0csp-", 20, false}, {"shpat_", 32, false}, {"shpss_", 32, false}, {"shpca_", 32, false}, {"shppa_", 32, false},
	// models
	{"sk-", 32, false}, {"sk-ant-", 20, false}, {"sk-proj-", 20, false}, {"sk-or-", 20, false}, {"hf_", 30, false}, {"gsk_", 40, false},
	{"r8_", 32, false}, {"xai-", 40, false}, {"pplx-", 40, false}, {"tvly-", 20, false},
	// clouds
	{"AKIA", 16, false}, {"ASIA", 16, false}, {"LTAI", 16, false}, {"AIza", 35, false}, {"ya29.", 20, true}, {"GOCSPX-", 20, false},
	{"dop_v1_", 32, false}, {"doo_v1_", 32, false}, {"dor_v1_", 32, false}, {"hvs.", 20, false}, {"hvb.", 20, false}, {"hvr.", 20, false},
	{"dapi", 32, false}, {"FlyV1", 20, false}, {"fm1r_", 20, false}, {"fm2_", 20, false}, {"fo1_", 20, false}, {"nfp_", 30, false}, {"sbp_", 32, false}, {"sb_secret_", 20, false},
	{"pul-", 40, false}, {"tskey-", 16, false}, {"rnd_", 28, false}, {"HRKU-", 30, false}, {"v1.0-", 32, false}, {"pscale_tkn_", 20, false}, {"pscale_pw_", 20, false},
	// packages
	{"npm_", 32, false}, {"pypi-", 32, false}, {"rubygems_", 32, false}, {"dckr_pat_", 20, false}, {"dckr_oat_", 20, false}, {"oy2", 43, false}, {"cio", 32, false},
	// others
	{"SWMTKN-1-", 40, false}, {"K10", 64, true},
	{"eyJ", 24, true}, {"SG.", 22, true}, {"sntrys_", 32, false}, {"sntryu_", 32, false}, {"glsa_", 30, false}, {"glc_", 32, false},
	{"lin_api_", 30, false}, {"figd_", 30, false}, {"ntn_", 30, false}, {"PMAK-", 32, false}, {"phx_", 32, false}, {"NRAK-", 27, false},
	{"ops_eyJ", 20, false}, {"AGE-SECRET-KEY-1", 40, false}, {"key-", 32, false}, {"CFPAT-", 30, false}, {"pat-na1-", 32, false}, {"xkeysib-", 32, false},
}

// tokenSet is an index of tokens by their first byte.
var tokenSet = func() (s [256][]int) {
	for i, t := range tokens {
		s[t.prefix[0]] = append(s[t.prefix[0]], i)
	}
	return s
}()

// token returns the length of the token at the beginning of text, or 0.
func token(text []byte) int {
	for _, i := range tokenSet[text[0]] {
		t := &tokens[i]
		if len(text) < len(t.prefix)+t.follow || string(text[:len(t.prefix)]) != t.prefix {
			continue
		}
		n, digits := len(t.prefix), 0
		for n < len(text) && (wordByte(text[n]) || t.dots && text[n] == '.') {
			if '0' <= text[n] && text[n] <= '9' {
				digits++
			}
			n++
			if n == 256 && digits == 0 {
				return 0
			}
		}
		if n >= len(t.prefix)+t.follow && digits > 0 {
			return n
		}
	}
	return botToken(text)
}

// botToken returns the length of a Telegram bot's token at the beginning of text: a number,
// a colon, and at least 30 letters.
func botToken(text []byte) int {
	n := 0
	for n < len(text) && n < 13 && '0' <= text[n] && text[n] <= '9' {
		n++
	}
	if n < 6 || n == len(text) || text[n] != ':' {
		return 0
	}
	begin := n + 1
	for n = begin; n < len(text) && wordByte(text[n]); {
		n++
	}
	if n-begin < 30 {
		return 0
	}
	return n
}

// privateKey returns the position of the key in a private key in PEM at the beginning of
// text, or 0.
func privateKey(text []byte) (from, to int) {
	line := text[:min(len(text), 80)]
	i := bytes.Index(line, []byte("PRIVATE KEY"))
	if i < 0 || !bytes.HasPrefix(line, []byte("-----BEGIN ")) {
		return 0, 0
	}
	dashes := bytes.Index(line[i:], []byte("-----"))
	if dashes < 0 {
		return 0, 0
	}
	from = i + dashes + 5
	if n := bytes.Index(text[from:], []byte("-----END")); n >= 0 {
		return from, from + n
	}
	return from, len(text)
}

// findTokens hides texts that look like tokens.
func (m *masker) findTokens(b []byte, i, end int) {
	for start := i; i < end; i++ {
		if wordByte(b[i]) && (i == start || !wordByte(b[i-1])) {
			if n := token(b[i:end]); n > 0 {
				m.hide(i, i+n)
				i += n - 1
			}
		}
	}
}
