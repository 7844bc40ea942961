package mask

import (
	"bytes"
	"strings"
)

// A form is how the value of an option or an operand holds a secret.
type form int

const (
	shown       form = iota // it holds none, but for what any text may hold
	whole                   // all of it is one
	attached                // all of it, and only in the option's own word: alone the option asks for it
	userColon               // USER:PASSWORD
	userPercent             // USER%PASSWORD
	userComma               // USER,PASSWORD
	userSlash               // USER/PASSWORD@DATABASE
	certColon               // FILE:PASSWORD
	lastColon               // ALGORITHM:NAME:KEY
	hostLogin               // DOMAIN/USER:PASSWORD@HOST
	wholeOrPair             // all of it is one, or NAME=VALUE, where the name decides
	pair                    // NAME=SECRET, whatever the name
	cookie                  // NAME=SECRET, or a file
	formData                // NAME=VALUE&NAME=VALUE, or a text
	script                  // a command line
	bare                    // a URL that may have no scheme
	named                   // NAME SECRET, in two words
	double                  // SECRET SECRET, in two words
)

// A tool is what is known of a program: by which options and operands it takes
// a secret, or how it starts another program.
type tool struct {
	names string // separated by commas; with the subcommand, or an option that has one's role

	options  map[form]string // separated by blanks
	operands string          // a letter each (see operandForms), the last one again if + follows
	flags    string          // the letters of options without a value that may stand in front of another in one word
	words    bool            // options have no dash: password SECRET, /p:SECRET
	long     bool            // an option of one dash is a whole word: -p is not the begin of -port

	wraps  bool // it starts a program, whose name stands behind its options
	before int  // and so many operands

	sub      map[string]*tool // subcommands
	switches bool             // some of them are options
	parent   *tool
	values   map[string]*option
	attach   []*option // of which the value may follow in the same word
}

// An option of a tool with a value.
type option struct {
	name string
	form form
}

// operandForms are the letters of tool.operands. n is a name: if it is one of a
// secret, the next operand is that.
var operandForms = map[byte]form{'.': shown, '*': whole, '?': wholeOrPair, ':': userColon, '/': userSlash, '@': hostLogin, '=': pair, 'c': bare, '$': script}

func (t *tool) operandLetter(n int) byte {
	if t == nil || t.operands == "" {
		return '.'
	}
	last := len(t.operands) - 1
	if t.operands[last] == '+' && n >= last {
		n = last - 1
	}
	if n > last {
		return '.'
	}
	return t.operands[n]
}

// subcommand is the tool that a word makes of this one; nil: none. A dotted word
// counts as what stands before the dot, as in http-basic.HOST.
func (t *tool) subcommand(w []byte) *tool {
	if t == nil || t.sub == nil {
		return nil
	}
	if s := t.sub[string(w)]; s != nil {
		return s
	}
	if n := bytes.IndexByte(w, '.'); n > 0 {
		return t.sub[string(w[:n])]
	}
	return nil
}

// operand is the form of a tool's operand of that number.
func (t *tool) operand(n int) form { return operandForms[t.operandLetter(n)] }

// namesValue reports whether an operand is the name of the next one.
func (t *tool) namesValue(n int) bool { return t.operandLetter(n) == 'n' }

// optionOf is the option that a word is or begins with, and where its value
// begins in the word: 0 if it does not.
func (t *tool) optionOf(w []byte) (o *option, value int) {
	for ; t != nil; t = t.parent {
		if o := t.values[string(w)]; o != nil {
			return o, 0
		}
		if n := bytes.IndexByte(w, '='); n > 0 {
			if o := t.values[string(w[:n])]; o != nil {
				return o, n + 1
			}
		}
		for _, o := range t.attach {
			if bytes.HasPrefix(w, []byte(o.name)) {
				return o, len(o.name)
			}
		}
		if n := 1 + len(w) - 1 - len(bytes.TrimLeft(w[1:], t.flags)); t.flags != "" && n > 1 && n < len(w) && w[0] == '-' && w[1] != '-' {
			if o := t.values["-"+string(w[n:n+1])]; o != nil {
				if n+1 == len(w) {
					return o, 0
				}
				return o, n + 1
			}
		}
	}
	return nil, 0
}

// tools are the tools of the table by their names.
var tools = func() map[string]*tool {
	all := map[string]*tool{}
	for i := range table {
		for name := range strings.SplitSeq(table[i].names, ",") {
			t := table[i]
			t.values = map[string]*option{}
			for f, names := range t.options {
				for n := range strings.FieldsSeq(names) {
					o := &option{n, f}
					t.values[n] = o
					if strings.HasSuffix(n, ":") || !t.long && !t.words && (f == attached || len(n) == 2 && n[0] == '-') {
						t.attach = append(t.attach, o)
					}
				}
			}
			words := strings.Fields(name)
			here := all
			var parent *tool
			for _, w := range words[:len(words)-1] {
				if here[w] == nil {
					here[w] = &tool{parent: parent}
				}
				parent = here[w]
				if parent.sub == nil {
					parent.sub = map[string]*tool{}
				}
				here = parent.sub
			}
			last := words[len(words)-1]
			if parent != nil && last[0] == '-' {
				parent.switches = true
			}
			t.parent = parent
			if old := here[last]; old != nil {
				t.sub, t.switches = old.sub, old.switches
				for _, s := range old.sub {
					s.parent = &t
				}
			}
			here[last] = &t
		}
	}
	return all
}()

// commonNames are the tools whose name is often something else.
var commonNames = []string{"open", "security", "net", "host", "exp", "imp", "sql", "step", "bolt", "age", "render", "surge", "railway", "now",
	"hub", "gem", "tea", "hive", "expo", "apollo", "rover", "script", "watch", "flux", "cf", "mc", "hf", "fly", "http", "https", "isql", "if", "then",
	"do", "else", "while", "until", "{", "!", "time", "exec", "command", "eval", "env", "at"}

// toolOf is what is known of a program, given its path: of a script by its name
// without the language's ending, and of mysql-8.0 as of mysql.
func toolOf(path []byte) *tool {
	name := base(path)
	if t := tools[string(name)]; t != nil {
		return t
	}
	if i := bytes.Index(path, []byte("/node_modules/")); i >= 0 {
		name = path[i+len("/node_modules/"):]
		if n := bytes.IndexByte(name, '/'); n > 0 {
			name = name[:n]
		}
		if t := tools[string(name)]; t != nil {
			return t
		}
	}
	if n := bytes.LastIndexByte(name, '.'); n > 0 && among(name[n:], []string{".py", ".pyc", ".js", ".mjs", ".cjs", ".rb", ".pl", ".sh", ".php", ".phar", ".exe", ".EXE"}) {
		name = name[:n]
	} else {
		name = bytes.TrimRight(name, "0123456789.-")
	}
	return tools[string(name)]
}
