package event

import (
	"bytes"
	"strconv"
)

// Fields of the events of spans. span_start and span_stop have the same ones.
const (
	SpanName = iota
	SpanFile
	SpanLine
	SpanSource
)
const (
	SpanRaiseError = iota
	SpanRaiseMessage
	SpanRaiseFile
	SpanRaiseLine
	SpanRaiseSource
)

// The sources of spans: values of the field source.
const (
	SourceUSDT     = "usdt"   // a USDT probe
	SourceMarker   = "marker" // a marker path
	SourceFunction = "uprobe" // entry and return of a function
)

var spanFields = []Field{
	SpanName:   {"name", Text, Text0, "method", "Order#save"},
	SpanFile:   {"file", Text, Text1, "source file", "order.rb"},
	SpanLine:   {"line", Int, Num0, "source line", 12},
	SpanSource: {"source", Text, Derived, "usdt, marker or uprobe", "usdt"},
}

var spans = []Kind{
	{ID: SpanStart, Name: "span_start", Label: "USDT", Doc: "A method began.", Fields: spanFields, text: textSpan},
	{ID: SpanStop, Name: "span_stop", Label: "USDT", Doc: "A method ended.", Fields: spanFields, text: textSpan},
	{ID: SpanRaise, Name: "span_raise", Label: "EXCP", Doc: "An exception was raised.", Fields: []Field{
		SpanRaiseError:   {"error", Text, Text0, "exception class", "IOError"},
		SpanRaiseMessage: {"message", Text, Derived, "its message", "closed stream"},
		SpanRaiseFile:    {"file", Text, Text1, "source file", "order.rb"},
		SpanRaiseLine:    {"line", Int, Num0, "source line", 12},
		SpanRaiseSource:  {"source", Text, Derived, "usdt or marker", "usdt"},
	}, text: textRaise, extra: []extra{{field: SpanRaiseSource}}, derive: deriveRaise},
}

func textSpan(b []byte, ev *Event) []byte {
	return AppendPlace(ev.unquoted(b, ev.Fields[SpanName].Text), ev.Fields[SpanFile].Text, int64(ev.Fields[SpanLine].Num), ev.unquoted)
}

func textRaise(b []byte, ev *Event) []byte {
	b = append(b, "error="...)
	if class := ev.Fields[SpanRaiseError].Text; len(class) > 0 {
		b = ev.unquoted(b, class)
	} else {
		b = append(b, '?')
	}
	if len(ev.Fields[SpanRaiseMessage].Text) > 0 {
		b = ev.quote(b, " message=", SpanRaiseMessage)
	}
	return AppendPlace(b, ev.Fields[SpanRaiseFile].Text, int64(ev.Fields[SpanRaiseLine].Num), ev.unquoted)
}

// A record's text 0 is the class, a NUL and the message.
func deriveRaise(ev *Event, raw *Raw) {
	if len(raw.Text[0]) == 0 {
		return
	}
	class, message, _ := bytes.Cut(raw.Text[0], []byte{0})
	ev.Fields[SpanRaiseError].Text = class
	ev.setText(SpanRaiseMessage, message)
}

// AppendPlace appends ` at=FILE:LINE`, FILE being the file's last part, and
// nothing without a file; a line of 0 or less is not shown.
func AppendPlace(b, file []byte, line int64, appendName func(b, name []byte) []byte) []byte {
	if len(file) == 0 {
		return b
	}
	b = appendName(append(b, " at="...), Basename(file))
	if line > 0 {
		b = strconv.AppendInt(append(b, ':'), line, 10)
	}
	return b
}
