package mask

import (
	"bytes"
	"strings"
)

// appendText appends an argument that may be a whole command line of its own:
// the words in it, the headers, and JSON.
func appendText(b, text []byte) []byte {
	after := false // a secret is next
	tool := ""     // the program whose options they are
	for i := 0; i < len(text); {
		if n := header(text[i:]); n > 0 && (i == 0 || !wordByte(text[i-1]) || bytes.HasSuffix(text[:i], []byte("-H"))) {
			// A header goes to its end: that of its quotes, or of the line.
			ends := "\"'\r\n\\"
			if i == 0 {
				ends = "\r\n"
			} else if q := text[i-1]; q == '"' || q == '\'' {
				ends = string(q) + "\r\n"
			}
			end := bytes.IndexAny(text[i+n:], ends)
			if end < 0 {
				end = len(text) - i - n
			}
			if len(bytes.TrimSpace(text[i+n:i+n+end])) > 0 {
				b = append(append(b, text[i:i+n]...), Hidden...)
				i += n + end
				continue
			}
		}
		if n, value := member(text[i:]); n > 0 {
			b = append(b, text[i:i+n]...)
			if value > 0 {
				b = append(b, Hidden...)
			}
			i += n + value
			continue
		}
		if rest := text[i:]; bytes.HasPrefix(rest, []byte("-----BEGIN ")) {
			if line, key, ok := bytes.Cut(rest, []byte("PRIVATE KEY-----")); ok && len(line) < 64 {
				b = append(append(b, rest[:len(rest)-len(key)]...), Hidden...)
				end := bytes.Index(key, []byte("-----END"))
				if end < 0 {
					return b
				}
				i = len(text) - len(key) + end
				continue
			}
		}
		n := bytes.IndexAny(text[i:], " \t\r\n\"'`()|<>")
		if n < 0 {
			n = len(text) - i
		} else if n > 1 && text[i+n-1] == '\\' {
			n-- // it belongs to the quote
		}
		if word := text[i : i+n]; n > 0 {
			// Not behind a header's name, which the next turn looks for.
			if h := headerIn(word); h > 0 {
				word, n = word[:h], h
			}
			quoted := i+n < len(text) && (text[i+n] == '"' || text[i+n] == '\'')
			was := after
			after = false
			if m, next, ok := toolOption(tool, word); ok && !was {
				b = append(b, m...)
				after = next || quoted // -p'...'
			} else if was {
				b = append(b, Hidden...)
			} else {
				b = appendWord(b, word)
			}
			name, isOption := option(word)
			lower := ""
			if n < 16 {
				lower = strings.ToLower(string(word))
			}
			switch {
			case was || after:
			case isOption:
				after = secretOption(name)
			case lower == "bearer" || lower == "basic" && i > 0:
				after = true
			case lower == "password" || lower == "by": // of SQL, where '...' follows
				rest := bytes.TrimLeft(text[i+n:], " ")
				after = len(rest) > 0 && rest[0] == '\''
			case bytes.HasSuffix(word, []byte{'='}) && i+n < len(text) && text[i+n] != ' ': // NAME='...'
				name := word[:n-1]
				after = plainName(name) && Secret(string(name))
			case tools[string(base(word))] != nil && !loginCommand[string(base(word))]:
				tool = string(base(word))
			}
			if c := word[n-1]; c == ';' || c == '&' {
				tool = ""
			}
			i += n
			continue
		}
		if q := text[i]; after && (q == '"' || q == '\'') {
			end := bytes.IndexByte(text[i+1:], q)
			if end < 0 {
				end = len(text) - i - 1
			}
			b = append(b, q)
			if end > 0 {
				b = append(b, Hidden...)
			}
			i += 1 + end
			after = false
			continue
		}
		if text[i] == '|' || text[i] == '\n' {
			tool = ""
		}
		b = append(b, text[i])
		i++
	}
	return b
}

// appendWord appends a word: NAME=VALUE, --NAME=VALUE, a URL, or other text.
func appendWord(b, word []byte) []byte {
	return appendPairs(b, word, bytes.Contains(word, []byte("://")))
}

// appendPairs is appendWord for a word in which there can be a URL.
func appendPairs(b, word []byte, url bool) []byte {
	if len(word) == 0 {
		return b
	}
	i := -1
	if url {
		i = bytes.Index(word, []byte("://"))
	}
	if i > 0 {
		// --url=https://..., or a URL alone.
		name, _, ok := bytes.Cut(word[:i], []byte{'='})
		if ok && Secret(string(bytes.TrimLeft(name, "-"))) {
			return appendHidden(b, name, '=')
		}
		return AppendTarget(b, word)
	}
	if word[0] == '/' { // /password:...
		if n := header(word[1:]); n > 0 {
			return append(append(b, word[:1+n]...), Hidden...)
		}
	}
	name, value, ok := bytes.Cut(word, []byte{'='})
	if ok && len(value) > 0 {
		bare := bytes.TrimLeft(name, "-")
		if i := bytes.LastIndexAny(bare, "?&;,{["); i >= 0 {
			bare = bare[i+1:]
		}
		if Secret(string(bare)) && !bytes.ContainsAny(bare, "/") {
			b = appendHidden(b, name, '=')
			// Only in a form's data does something follow.
			if i := bytes.IndexByte(value, '&'); i >= 0 {
				return appendPairs(append(b, '&'), value[i+1:], url)
			}
			return b
		}
		b = append(append(b, name...), '=')
		if i := bytes.IndexByte(value, '&'); i >= 0 {
			b = append(appendPairs(b, value[:i], url), '&')
			return appendPairs(b, value[i+1:], url)
		}
		return appendPairs(b, value, url)
	}
	if rest, ok := bytes.CutPrefix(word, []byte("pass:")); ok && len(rest) > 0 { // openssl's -passin pass:...
		return append(append(b, "pass:"...), Hidden...)
	}
	return appendShaped(b, word)
}

func maskText(text []byte) []byte { return appendText(nil, text) }
