package eventtest

import (
	"fmt"

	"vivarium/pkg/event"
)

// New returns an event of a kind. fields are names and values, as for Set.
func New(id event.ID, fields ...any) *event.Event {
	ev := &event.Event{Kind: &event.Kinds[id], Name: []byte(event.Kinds[id].Name)}
	for i := 0; i < len(fields); i += 2 {
		Set(ev, fields[i].(string), fields[i+1])
	}
	return ev
}

// Set sets a field of an event to an int, a string or a []string. It panics if the
// kind does not have the field.
func Set(ev *event.Event, name string, value any) {
	for i, f := range ev.Kind.Fields {
		if f.Name != name {
			continue
		}
		v := &ev.Fields[i]
		v.Type = f.Type
		switch x := value.(type) {
		case int:
			v.Num = uint64(x)
		case string:
			v.Text = []byte(x)
		case []string:
			for _, s := range x {
				v.List = append(v.List, []byte(s))
			}
		default:
			panic(fmt.Sprintf("field %s: value of type %T", name, value))
		}
		return
	}
	panic(fmt.Sprintf("%s has no field %s", ev.Kind.Name, name))
}
