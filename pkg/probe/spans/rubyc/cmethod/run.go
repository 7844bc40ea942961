package cmethod

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

// kind says what is known of a value.
type kind uint8

const (
	unknown kind = iota
	number       // n, which can be an address
	foreign      // the address of the symbol s of another file
	stack        // n above the stack pointer at the function's beginning
	class        // the class s
	name         // the id of the name s
	object       // what the call at n returned
)

// value is what is known of the contents of a register or of memory.
type value struct {
	kind      kind
	singleton bool // of a class or object: its singleton class
	n         uint64
	s         string
}

// state is what is known at a place in a function.
type state struct {
	regs  [16]value
	stack map[int64]value // by distance from the stack pointer at the beginning
}

const (
	rax, rcx, rdx, rsp, rsi, rdi = 0, 1, 2, 4, 6, 7
	maxStack                     = 64 // places of the stack that are kept
)

// clobbered are the registers that a call may change.
var clobbered = []int{rax, rcx, rdx, rsi, rdi, 8, 9, 10, 11}

func (s *state) set(o *state) {
	*s = *o
	s.stack = maps.Clone(o.stack)
}

// meet forgets what is not the same in o, and reports whether that was anything.
func (s *state) meet(o *state) bool {
	changed := false
	for i, v := range s.regs {
		if v.kind != unknown && v != o.regs[i] {
			s.regs[i], changed = value{}, true
		}
	}
	for at, v := range s.stack {
		if v != o.stack[at] {
			delete(s.stack, at)
			changed = true
		}
	}
	return changed
}

// forget drops all.
func (s *state) forget() {
	*s = state{}
}

// definition is a method.
type definition struct {
	on       value // class or object
	name     string
	function uint64
	old      string // of an alias
}

// analysis is what one run through the functions finds.
type analysis struct {
	f       *File
	cells   map[uint64]value // of the run before
	stored  map[uint64]value // what this one stores at an address; unknown: not always the same
	objects map[uint64]string
	defs    []definition
	record  bool
	lost    bool // not all ways through the function are known
}

// program is a function to run through.
type program struct {
	start uint64
	insns []insn
	index map[uint64]int // of what is jumped to, and of what follows a jump
	extra []uint64       // where others jump into it
}

// Methods are the methods that want says yes to, of those whose class and
// function can be told, in the order of the code that defines them. Several can have one function, and one of the
// class and one of its objects can have the same name. An error is one of all
// the file.
func (f *File) Methods(want func(class, name string) bool) ([]Method, error) {
	if !f.analyzed {
		f.analyzed = true
		f.err = f.analyze()
	}
	if f.err != nil {
		return nil, f.err
	}
	var all []Method
	seen := map[Method]bool{}
	for _, d := range f.defs {
		if m := (Method{d.on.s, d.name, d.function}); want(m.Class, m.Name) && !seen[m] {
			seen[m] = true
			all = append(all, m)
		}
	}
	return all, nil
}

// analyze runs through the functions that define something until no more is
// found of what they store where.
func (f *File) analyze() error {
	var programs []*program
	definers, err := f.definers()
	if err != nil {
		return err
	}
	kept := 0
	for _, start := range definers {
		p := f.program(start)
		if p == nil {
			continue
		}
		if kept += len(p.insns); kept > maxKept {
			return fmt.Errorf("%w: more than %d instructions define methods", ErrFormat, maxKept)
		}
		programs = append(programs, p)
	}
	a := &analysis{f: f}
	for range 8 {
		a.stored, a.objects, a.defs = map[uint64]value{}, map[uint64]string{}, nil
		for _, p := range programs {
			if err := a.through(p); err != nil {
				return err
			}
		}
		if maps.Equal(a.stored, a.cells) {
			break
		}
		a.cells = a.stored
	}
	type key struct {
		on   value
		name string
	}
	byName := map[key][]uint64{}
	resolve := func(v value) value {
		if v.kind == object {
			v = value{kind: class, singleton: v.singleton, s: a.objects[v.n]}
		}
		return v
	}
	for _, d := range a.defs {
		if d.on = resolve(d.on); d.on.s != "" && d.old == "" {
			byName[key{d.on, d.name}] = append(byName[key{d.on, d.name}], d.function)
			f.defs = append(f.defs, d)
		}
	}
	for range 4 { // aliases of aliases
		n := len(f.defs)
		for _, d := range a.defs {
			if d.on = resolve(d.on); d.on.s == "" || d.old == "" || byName[key{d.on, d.name}] != nil {
				continue
			}
			functions := byName[key{d.on, d.old}]
			for _, d.function = range functions[:min(len(functions), 4)] {
				f.defs = append(f.defs, d)
			}
			if functions != nil {
				byName[key{d.on, d.name}] = functions
			}
		}
		if n == len(f.defs) {
			break
		}
	}
	return nil
}

// callee is what a call or jump to an address does.
func (f *File) callee(addr uint64) call {
	for _, n := range f.named[addr] {
		if c := known[n]; c != 0 {
			return c
		}
	}
	if slot, ok := f.stub(addr); ok {
		return f.slotCall(slot)
	}
	return 0
}

func (f *File) slotCall(at uint64) call { return known[f.slots[at].name] }

// calls calls each with what look like calls and jumps: where they are, and the
// address that they go to, or of what they go through.
func (f *File) calls(each func(at, to uint64, slot bool)) error {
	calls := 0
	for _, s := range f.segments {
		if !s.code {
			continue
		}
		for _, first := range []byte{0xe8, 0xe9, 0xff, 0x8b} { // call, jmp, either through memory, and what loads an address for one
			for at := 0; ; at++ {
				next := bytes.IndexByte(s.data[at:], first)
				if next < 0 || at+next+6 > len(s.data) {
					break
				}
				at += next
				m := s.data[at+1]
				if first == 0xff && m != 0x15 && m != 0x25 || first == 0x8b && m&0xc7 != 0x05 {
					continue
				}
				if calls++; calls > maxCalls {
					return fmt.Errorf("%w: more than %d calls", ErrFormat, maxCalls)
				}
				addr := s.addr + uint64(at)
				if first == 0xff || first == 0x8b {
					each(addr, addr+6+uint64(int64(int32(binary.LittleEndian.Uint32(s.data[at+2:])))), true)
				} else {
					each(addr, addr+5+uint64(int64(int32(binary.LittleEndian.Uint32(s.data[at+1:])))), false)
				}
			}
		}
	}
	return nil
}

// definers are the functions that define classes or methods, by their start.
func (f *File) definers() ([]uint64, error) {
	var found []uint64
	err := f.calls(func(at, to uint64, slot bool) {
		if slot && !f.slotCall(to).defines() || !slot && !f.callee(to).defines() {
			return
		}
		if start, _, ok := f.function(at); ok && !f.isLinkage(at) && (len(found) == 0 || found[len(found)-1] != start) {
			found = append(found, start)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// isLinkage reports whether an address is in a procedure linkage table.
func (f *File) isLinkage(addr uint64) bool {
	return slices.ContainsFunc(f.linkage, func(s span) bool { return addr >= s.start && addr < s.end })
}

// program decodes a function; nil: it has code that is not understood, or not
// all ways through it are known.
func (f *File) program(addr uint64) *program {
	start, code, ok := f.function(addr)
	if !ok {
		return nil
	}
	b, insns := f.scan(start, code, true)
	if b.err != nil || b.table {
		return nil
	}
	p := &program{start: start, index: map[uint64]int{start: 0}, insns: insns}
	mark := func(addr uint64) bool {
		n, ok := slices.BinarySearchFunc(p.insns, addr, func(i insn, addr uint64) int { return cmp.Compare(i.at, addr) })
		if ok {
			p.index[addr] = n
		}
		return ok
	}
	for _, i := range p.insns {
		if isJump(i.Op) {
			if to := i.target(); to >= start && to < b.end && !mark(to) {
				return nil // into an instruction
			}
			mark(i.next)
		} else if ends(i.Op) {
			mark(i.next)
		}
	}
	// What parts of it that the compiler moved away come back to.
	for _, j := range b.jumps {
		if _, ok := f.stub(j.to); ok || j.slot {
			continue
		}
		if _, part := f.body(j.to); part != nil {
			for _, back := range part.jumps {
				if !back.slot && back.to > start && back.to < b.end {
					if !mark(back.to) {
						return nil
					}
					p.extra = append(p.extra, back.to)
				}
			}
		}
	}
	if len(p.index) > maxPlaces {
		return nil
	}
	return p
}

// ends reports whether what follows an instruction is not run after it.
func ends(op x86asm.Op) bool {
	switch op {
	case x86asm.RET, x86asm.UD2, x86asm.HLT, x86asm.UD1:
		return true
	}
	return false
}

// through runs through a function: first until it is known what is the same on
// all ways to each place, then once more for what is done there.
func (a *analysis) through(p *program) error {
	entry := map[uint64]*state{}
	var todo []uint64
	reach := func(addr uint64, s *state) {
		old := entry[addr]
		if old == nil {
			entry[addr] = &state{}
			entry[addr].set(s)
		} else if !old.meet(s) {
			return
		}
		todo = append(todo, addr)
	}
	first, nothing, now := &state{}, &state{}, &state{}
	first.regs[rsp] = value{kind: stack}
	a.record, a.lost = false, false
	copied := func(s *state) *state {
		a.f.run += 16 + 4*len(s.stack)
		now.set(s)
		return now
	}
	work := func() error {
		for len(todo) > 0 {
			addr := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if err := a.block(p, addr, copied(entry[addr]), reach); err != nil {
				return err
			}
		}
		return nil
	}
	reach(p.start, first)
	for _, addr := range p.extra {
		reach(addr, nothing)
	}
	if err := work(); err != nil {
		return err
	}
	places := slices.Sorted(maps.Keys(p.index))
	for _, addr := range places {
		if entry[addr] == nil && !p.padding(addr) { // as the handler of an exception
			reach(addr, nothing)
		}
		if err := work(); err != nil {
			return err
		}
	}
	if a.lost {
		return nil
	}
	a.record = true
	for _, addr := range places {
		if entry[addr] == nil {
			continue
		}
		if err := a.block(p, addr, copied(entry[addr]), func(uint64, *state) {}); err != nil {
			return err
		}
	}
	return nil
}

// padding reports whether there is nothing at a place but what fills the room
// to the next one.
func (p *program) padding(addr uint64) bool {
	for n := p.index[addr]; n < len(p.insns); n++ {
		i := p.insns[n]
		if _, ok := p.index[i.at]; ok && i.at != addr {
			return true
		}
		if i.Op != x86asm.NOP && (i.Op != x86asm.XCHG || i.Args[0] != i.Args[1]) {
			return false
		}
	}
	return true
}

// block runs from a place to the next jump or place.
func (a *analysis) block(p *program, addr uint64, s *state, reach func(uint64, *state)) error {
	for n := p.index[addr]; n < len(p.insns); n++ {
		if a.f.run++; a.f.run > maxRun {
			return fmt.Errorf("%w: more than %d instructions to run through", ErrFormat, maxRun)
		}
		i := p.insns[n]
		if _, ok := p.index[i.at]; ok && i.at != addr {
			reach(i.at, s)
			return nil
		}
		if isJump(i.Op) {
			to := i.target()
			if _, ok := p.index[to]; ok {
				reach(to, s)
			} else if i.Op == x86asm.JMP {
				if _, ok := i.address(i.Args[0]); to == 0 && !ok && a.get(i, i.Args[0], s).kind != foreign {
					a.lost = true
				}
				a.call(i, s) // in place of a call and ret
			}
			if i.Op != x86asm.JMP && n+1 < len(p.insns) {
				reach(i.next, s)
			}
			return nil
		}
		if ends(i.Op) {
			return nil
		}
		a.step(i, s)
	}
	return nil
}
