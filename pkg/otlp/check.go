package otlp

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// message describes a type of protobuf message for check.
type message struct {
	messages map[field]*message       // its fields that are messages
	scalars  map[field]protowire.Type // fields that distinguish it from other messages
	item     bool                     // a span or a log record
}

// The requests of opentelemetry-proto's trace.proto, logs.proto and
// common.proto.
var (
	anyValue    = &message{}
	keyValue    = &message{messages: map[field]*message{2: anyValue}}
	spanMessage = &message{item: true,
		messages: map[field]*message{9: keyValue, 11: {messages: map[field]*message{3: keyValue}}, 13: {messages: map[field]*message{4: keyValue}}, 15: {}},
		scalars: map[field]protowire.Type{1: protowire.BytesType, 2: protowire.BytesType, 5: protowire.BytesType,
			7: protowire.Fixed64Type, 8: protowire.Fixed64Type}}
	logMessage = &message{item: true,
		messages: map[field]*message{5: anyValue, 6: keyValue},
		scalars: map[field]protowire.Type{1: protowire.Fixed64Type, 2: protowire.VarintType, 9: protowire.BytesType,
			10: protowire.BytesType, 11: protowire.Fixed64Type}}
	requests = [...]*message{Traces: request(spanMessage), Logs: request(logMessage)}
)

// request returns the message of a request. Its structure is the same for both
// signals.
func request(item *message) *message {
	// AnyValue is recursive: by ArrayValue and KeyValueList.
	anyValue.messages = map[field]*message{5: {messages: map[field]*message{1: anyValue}}, 6: {messages: map[field]*message{1: keyValue}}}
	attributes := func(f field) *message { return &message{messages: map[field]*message{f: keyValue}} }
	scope := &message{messages: map[field]*message{1: attributes(3), 2: item}}
	resource := &message{messages: map[field]*message{1: attributes(1), 2: scope}}
	return &message{messages: map[field]*message{1: resource}}
}

// check returns an error if the body is not a request with Items items. It allocates
// nothing that depends on the body.
func (b Batch) check() error {
	n, err := requests[b.Signal].countItems(b.Body, 0)
	if err != nil {
		return err
	}
	if n != b.Items {
		return fmt.Errorf("it holds %d", n)
	}
	return nil
}

// maxDepth is the maximum nesting of messages. Those of a Converter have 8 levels.
const maxDepth = 32

var errDamaged = errors.New("it is not a valid OTLP request")

// countItems checks a message and returns the number of items in it.
func (m *message) countItems(b []byte, depth int) (n int, err error) {
	if m.item {
		n = 1
	}
	if depth > maxDepth {
		return 0, errDamaged
	}
	for len(b) > 0 {
		f, t, size := protowire.ConsumeTag(b)
		if size < 0 {
			return 0, errDamaged
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(f, t, b); size < 0 {
			return 0, errDamaged
		}
		if want, ok := m.scalars[f]; ok && t != want {
			return 0, errDamaged
		}
		if inner := m.messages[f]; inner != nil {
			if t != protowire.BytesType {
				return 0, errDamaged
			}
			text, _ := protowire.ConsumeBytes(b)
			k, err := inner.countItems(text, depth+1)
			if err != nil {
				return 0, err
			}
			n += k
		}
		b = b[size:]
	}
	return n, nil
}
