package vivraw

import "vivarium/pkg/event"

// AppendText appends what vivarium prints of an event of a capture.
func AppendText(b []byte, ev *event.Event) []byte { return event.AppendText(b, ev) }
