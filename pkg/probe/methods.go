package probe

import (
	"slices"

	"vivarium/pkg/event"
	"vivarium/pkg/probe/wire"
)

// The bounds of what is remembered of methods that are open.
const (
	maxMethodThreads = 16384
	maxMethodStacks  = 256  // of a thread: it has one, and each of its fibers has one
	maxMethodFrames  = 4096 // of a stack
)

// methodThreads knows in which methods of Ruby, of those that are written in C,
// each thread is. Probes tell when one begins, when it returns, and when the
// thread sets its stack pointer back and so leaves all methods below it
// (bpf/hooks/usdt.h). A thread that is seen on another stack runs another fiber: the
// spans of the one before end, and those of the other begin again.
type methodThreads map[uint32]*methodThread // by thread id

type methodThread struct {
	pid    uint32
	stacks []*methodStack
	on     *methodStack
}

type methodStack struct {
	from, to uint64 // addresses that are its
	frames   []methodFrame
}

// methodFrame is a method that was entered.
type methodFrame struct {
	sp   uint64 // stack pointer at its entry: of what it does it is lower
	site uint64 // as wire.Function has it
}

// elsewhere is any stack on which no method was entered.
var elsewhere = &methodStack{}

// methods brings the methods that are open up to date with the event that was
// decoded, and writes the spans that end, and begin again, before it. It reports
// whether the event itself is to be recorded: a return is, if its entry was
// seen.
func (r *recording) methods() (bool, error) {
	m, tid := &r.m, r.m.Event.TID
	if m.ID == event.ProcExit || m.ID == event.ProcExec && len(m.Event.Error) == 0 {
		delete(r.threads, tid)
		if m.ID == event.ProcExec {
			delete(r.threads, uint32(m.Event.Fields[event.ProcExecOldTID].Num)) // 0: nobody's
		}
		return true, nil
	}
	if !r.sites.IsMethod(m.Function.Site) {
		err := r.leaveMethods(m.StackPointer)
		return !m.InMethod || len(r.openMethods().frames) > 0, err
	}
	if m.ID == event.SpanStop {
		if err := r.leaveMethods(m.StackPointer - 1); err != nil { // those that it had entered
			return false, err
		}
		s := r.openMethods()
		n := len(s.frames)
		if n == 0 || s.frames[n-1].sp != m.StackPointer {
			return false, nil
		}
		s.frames = s.frames[:n-1]
		return true, nil
	}
	t := r.threads[tid]
	if t == nil || t.pid != m.Event.PID { // another's id, whose end was missed
		if len(r.threads) >= maxMethodThreads {
			clear(r.threads)
		}
		t = &methodThread{pid: m.Event.PID}
		r.threads[tid] = t
	}
	t.know(m.Function.StackFrom, m.Function.StackTo)
	if err := r.leaveMethods(m.StackPointer); err != nil {
		return false, err
	}
	// One that is not remembered is recorded too, and ends with the one around it.
	if s := t.on; s != elsewhere && len(s.frames) < maxMethodFrames {
		s.frames = append(s.frames, methodFrame{m.StackPointer, m.Function.Site})
	}
	return true, nil
}

// openMethods is the stack of the thread of the record.
func (r *recording) openMethods() *methodStack {
	if t := r.threads[r.m.Event.TID]; t != nil && t.on != nil {
		return t.on
	}
	return elsewhere
}

// leaveMethods ends the methods that the thread of the record has left when its
// stack pointer is sp; 0: it is in none.
func (r *recording) leaveMethods(sp uint64) error {
	t := r.threads[r.m.Event.TID]
	if t == nil || sp == 0 {
		return nil
	}
	if err := r.switchStack(t, t.stack(sp)); err != nil {
		return err
	}
	s := t.on
	for n := len(s.frames); n > 0 && s.frames[n-1].sp <= sp; n-- {
		if err := r.writeMethod(event.SpanStop, s.frames[n-1].site); err != nil {
			return err
		}
		s.frames = s.frames[:n-1]
	}
	return nil
}

// switchStack ends the spans of the stack that the thread was on, innermost
// first, and begins those of the other.
func (r *recording) switchStack(t *methodThread, to *methodStack) error {
	from := t.on
	t.on = to
	if from == to || from == nil {
		return nil
	}
	for _, f := range slices.Backward(from.frames) {
		if err := r.writeMethod(event.SpanStop, f.site); err != nil {
			return err
		}
	}
	for _, f := range to.frames {
		if err := r.writeMethod(event.SpanStart, f.site); err != nil {
			return err
		}
	}
	return nil
}

// writeMethod writes the start or the end of a method at the time of the record
// that was decoded.
func (r *recording) writeMethod(id event.ID, site uint64) error {
	of, ev := &r.m.Event, &r.span
	ev.Reset()
	ev.Kind = &event.Kinds[id]
	ev.TraceID, ev.SpanID, ev.ParentSpanID = of.TraceID, of.SpanID, of.ParentSpanID
	ev.KtimeNS, ev.PID, ev.TID, ev.UID, ev.GID, ev.Comm = of.KtimeNS, of.PID, of.TID, of.UID, of.GID, of.Comm
	ev.Fields[event.SpanName] = textValue(r.sites.Name(site))
	ev.Fields[event.SpanSource] = textValue(wire.SourceFunction)
	return r.record(id, ev)
}

// stack is the thread's stack with the address.
func (t *methodThread) stack(sp uint64) *methodStack {
	if s := t.on; s != nil && s.from <= sp && sp < s.to {
		return s
	}
	for _, s := range t.stacks {
		if s.from <= sp && sp < s.to {
			return s
		}
	}
	return elsewhere
}

// know remembers a stack of the thread, on which it enters a method; to 0: the
// kernel could not tell, and it is the one that the thread was on, or its only
// one.
func (t *methodThread) know(from, to uint64) {
	if to == 0 {
		if len(t.stacks) == 0 {
			t.stacks = append(t.stacks, &methodStack{to: ^uint64(0)})
		}
		return
	}
	for _, s := range t.stacks {
		if s.from < to && from < s.to {
			s.from, s.to = from, to
			return
		}
	}
	if len(t.stacks) >= maxMethodStacks {
		empty := func(s *methodStack) bool { return len(s.frames) == 0 && s != t.on }
		t.stacks = slices.DeleteFunc(t.stacks, empty)
		if len(t.stacks) >= maxMethodStacks {
			t.stacks = slices.Delete(t.stacks, 0, 1)
		}
	}
	t.stacks = append(t.stacks, &methodStack{from: from, to: to})
}
