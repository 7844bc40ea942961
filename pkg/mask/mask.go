// Package mask hides secrets in what viv shows of other programs: passwords,
// tokens and the like in URLs, in headers and in arguments. It goes by names
// (token=, --password, Authorization:), by the places where well-known programs
// take a secret, and by the shape of a few kinds of token. It cannot know every
// secret; where it is in doubt it hides.
package mask

import "bytes"

// Hidden stands for what was hidden.
const Hidden = "***"

// Args hides the secrets of a command's arguments, argv[0] first. Elements that
// have one are replaced in argv itself; their bytes are left alone.
func Args(argv [][]byte) {
	if len(argv) == 0 {
		return
	}
	tool := string(base(argv[0]))
	login := !loginCommand[tool]
	after := false // the argument before said that this one is a secret
	for i, arg := range argv {
		if i == 0 {
			continue
		}
		switch {
		case after && len(arg) > 0:
			argv[i] = secretValue(tool, arg)
			after = false
			continue
		case string(arg) == "login":
			login = true
		}
		after = false
		if login {
			if m, next, ok := toolOption(tool, arg); ok {
				argv[i], after = m, next
				continue
			}
		}
		if name, ok := option(arg); ok {
			after = secretOption(name)
			continue
		}
		if name, _, ok := bytes.Cut(arg, []byte{'='}); ok && string(argv[i-1]) != "-c" && plainName(name) && Secret(string(name)) {
			// Also with blanks in it. Only a shell's -c has more commands behind.
			argv[i] = appendHidden(nil, name, '=')
			continue
		}
		m := maskText(arg)
		if bareURL[tool] && len(arg) > 0 && arg[0] != '-' && !bytes.ContainsAny(arg, " \"'{") && bytes.IndexByte(arg, '@') > bytes.IndexByte(arg, ':') {
			m = AppendTarget(nil, arg) // without a scheme
		}
		if !bytes.Equal(m, arg) {
			argv[i] = m
		}
	}
}

// appendHidden appends NAME, a separator, and what stands for the value.
func appendHidden(b, name []byte, sep byte) []byte {
	return append(append(append(b, name...), sep), Hidden...)
}
