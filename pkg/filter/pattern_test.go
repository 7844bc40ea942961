package filter

import "testing"

func TestExpression(t *testing.T) {
	for _, c := range []struct {
		expr, text string
		want       bool
	}{
		{"etc", `"/etc/x"`, true}, {"^etc", `"/etc/x"`, false}, {`^"/etc`, `"/etc/x"`, true}, {"etc$", "x/etc", true}, {"etc$", "etc/x", false},
		{"(?i)ETC", "/etc", true}, {"ETC", "/etc", false}, {`a\.b`, "a.b", true}, {`a\.b`, "axb", false}, {"", "x", true}, {"日本", "a日本b", true},
	} {
		p, err := Expression(c.expr)
		if err != nil || p.Match([]byte(c.text)) != c.want {
			t.Errorf("%q on %q: not %v, %v", c.expr, c.text, c.want, err)
		}
	}
}
