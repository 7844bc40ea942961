package span

// The bounds of the spans that a Builder keeps open.
const (
	MaxOpen      = 65536 // in all
	MaxPerThread = 256   // of a thread, its own among them
)

// bounds are all bounds of a Builder. Tests make them smaller.
type bounds struct {
	open      int // spans
	perThread int // spans of a thread
	text      int // bytes of names, files and sources of open method spans
	forked    int // forks whose child has not shown itself
	ended     int // threads that have ended and whose late events are recognised
	walk      int // threads to look at before a late parent is refused
}

var defaultBounds = bounds{open: MaxOpen, perThread: MaxPerThread, text: 16 << 20, forked: 16384, ended: 4096, walk: 1024}
