package span

// names returns the same string for equal texts, so that the name of a method needs
// memory once, not for every call. It is cleared when it has maxNames names.
type names map[string]string

const (
	maxNames   = 4096
	maxNameLen = 256 // bytes; longer ones are not kept
)

func (n names) string(text []byte) string {
	if s, ok := n[string(text)]; ok {
		return s
	}
	s := string(text)
	if len(s) <= maxNameLen {
		if len(n) >= maxNames {
			clear(n)
		}
		n[s] = s
	}
	return s
}
