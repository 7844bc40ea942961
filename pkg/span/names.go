package span

// names makes one string of equal texts, so that a method costs memory once
// and not with every call. It forgets all when there are too many.
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
