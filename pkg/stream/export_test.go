package stream

// The limits that docs/stream.md names.
const (
	MaxKeys  = maxKeys
	MaxList  = maxList
	MaxDepth = maxDepth
)
