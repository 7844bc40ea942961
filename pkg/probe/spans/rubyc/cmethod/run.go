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

// register is the number of a general register and its size in bytes.
func register(arg x86asm.Arg) (n, size int, ok bool) {
	r, ok := arg.(x86asm.Reg)
	if !ok {
		return 0, 0, false
	}
	switch {
	case r >= x86asm.RAX && r <= x86asm.R15:
		return int(r - x86asm.RAX), 8, true
	case r >= x86asm.EAX && r <= x86asm.R15L:
		return int(r - x86asm.EAX), 4, true
	case r >= x86asm.AX && r <= x86asm.R15W:
		return int(r - x86asm.AX), 2, true
	case r >= x86asm.SPB && r <= x86asm.R15B:
		return int(r-x86asm.SPB) + 4, 1, true
	case r >= x86asm.AL && r <= x86asm.BL:
		return int(r - x86asm.AL), 1, true
	case r >= x86asm.AH && r <= x86asm.BH:
		return int(r - x86asm.AH), 1, true
	}
	return 0, 0, false
}

// place is the address of an operand in memory.
func (a *analysis) place(i insn, m x86asm.Mem, s *state) value {
	if m.Segment != 0 {
		return value{}
	}
	v := value{kind: number, n: uint64(m.Disp)}
	if m.Base == x86asm.RIP {
		v.n += i.next
	} else if m.Base != 0 {
		n, size, ok := register(m.Base)
		if !ok || size != 8 {
			return value{}
		}
		v = plus(s.regs[n], uint64(m.Disp))
	}
	if m.Index != 0 {
		n, size, ok := register(m.Index)
		if !ok || size != 8 || s.regs[n].kind != number {
			return value{}
		}
		v = plus(v, s.regs[n].n*uint64(m.Scale))
	}
	return v
}

// plus adds to a value.
func plus(v value, n uint64) value {
	switch {
	case n == 0:
		return v
	case v.kind == number || v.kind == stack:
		v.n += n
		return v
	}
	return value{}
}

// load is what 8 bytes of memory hold.
func (a *analysis) load(at value, s *state) value {
	switch at.kind {
	case stack:
		return s.stack[int64(at.n)]
	case foreign:
		if n := variables[at.s]; n != "" {
			return value{kind: class, s: n}
		}
	case number:
		if v := a.cells[at.n]; v.kind == class {
			return v
		}
		for _, symbol := range a.f.named[at.n] {
			if n := variables[symbol]; n != "" {
				return value{kind: class, s: n}
			}
		}
		if v, ok := a.cells[at.n]; ok {
			return v
		}
		if slot, ok := a.f.slots[at.n]; ok {
			if slot.addr != 0 {
				return value{kind: number, n: slot.addr}
			}
			return value{kind: foreign, s: slot.name}
		}
	}
	return value{}
}

// store puts a value, of size bytes, into memory.
func (a *analysis) store(at, v value, size int, s *state) {
	switch at.kind {
	case stack:
		off := int64(at.n)
		for o := off - 7; o < off+int64(size); o++ {
			delete(s.stack, o)
		}
		if size == 8 && v.kind != unknown && len(s.stack) < maxStack {
			if s.stack == nil {
				s.stack = map[int64]value{}
			}
			s.stack[off] = v
		}
	case number:
		if !a.record {
			return
		}
		for o := uint64(0); o < uint64(max(size, 1)); o += 8 {
			if size != 8 {
				v = value{}
			}
			if old, ok := a.stored[at.n+o]; ok && old != v {
				v = value{}
			}
			a.stored[at.n+o] = v
		}
	}
}

// get is the value of an operand of 8 bytes, or of 4 that are made 8 with zeros.
func (a *analysis) get(i insn, arg x86asm.Arg, s *state) value {
	switch arg := arg.(type) {
	case x86asm.Imm:
		return value{kind: number, n: uint64(arg)}
	case x86asm.Mem:
		if i.MemBytes == 8 {
			return a.load(a.place(i, arg, s), s)
		}
	case x86asm.Reg:
		n, size, ok := register(arg)
		if ok && (size == 8 || size == 4 && s.regs[n].kind == number && s.regs[n].n < 1<<32) {
			return s.regs[n]
		}
	}
	return value{}
}

// set puts a value where an operand says.
func (a *analysis) set(i insn, arg x86asm.Arg, v value, s *state) {
	switch arg := arg.(type) {
	case x86asm.Mem:
		a.store(a.place(i, arg, s), v, i.MemBytes, s)
	case x86asm.Reg:
		n, size, ok := register(arg)
		switch {
		case !ok:
		case size == 8:
			s.regs[n] = v
		case size == 4 && v.kind == number:
			v.n &= 1<<32 - 1
			s.regs[n] = v
		default:
			s.regs[n] = value{}
		}
	}
}

// step does what an instruction does that is no jump.
func (a *analysis) step(i insn, s *state) {
	dst := i.Args[0]
	switch i.Op {
	case x86asm.NOP, x86asm.CMP, x86asm.TEST, x86asm.BT, x86asm.PREFETCHT0, x86asm.UCOMISD, x86asm.UCOMISS, x86asm.COMISD, x86asm.COMISS:
	case x86asm.MOV:
		a.set(i, dst, a.get(i, i.Args[1], s), s)
	case x86asm.LEA:
		if m, ok := i.Args[1].(x86asm.Mem); ok {
			a.set(i, dst, a.place(i, m, s), s)
		}
	case x86asm.XOR:
		v := value{}
		if dst == i.Args[1] {
			v.kind = number
		}
		a.set(i, dst, v, s)
	case x86asm.ADD, x86asm.SUB:
		v := value{}
		if by := a.get(i, i.Args[1], s); by.kind == number {
			if i.Op == x86asm.SUB {
				by.n = -by.n
			}
			v = plus(a.get(i, dst, s), by.n)
		}
		a.set(i, dst, v, s)
	case x86asm.PUSH:
		v := a.get(i, dst, s)
		s.regs[rsp] = plus(s.regs[rsp], ^uint64(7))
		a.store(s.regs[rsp], v, 8, s)
	case x86asm.POP:
		v := a.load(s.regs[rsp], s)
		s.regs[rsp] = plus(s.regs[rsp], 8)
		a.set(i, dst, v, s)
	case x86asm.LEAVE:
		s.regs[rsp] = s.regs[5]
		s.regs[5] = a.load(s.regs[rsp], s)
		s.regs[rsp] = plus(s.regs[rsp], 8)
	case x86asm.CALL:
		a.call(i, s)
	case x86asm.AND, x86asm.OR, x86asm.SHL, x86asm.SHR, x86asm.SAR, x86asm.NOT, x86asm.NEG, x86asm.INC, x86asm.DEC, x86asm.MOVZX, x86asm.MOVSX,
		x86asm.MOVSXD, x86asm.BSF, x86asm.BSR, x86asm.CMOVA, x86asm.CMOVAE, x86asm.CMOVB, x86asm.CMOVBE, x86asm.CMOVE, x86asm.CMOVG,
		x86asm.CMOVGE, x86asm.CMOVL, x86asm.CMOVLE, x86asm.CMOVNE, x86asm.CMOVNS, x86asm.CMOVS, x86asm.SETA, x86asm.SETAE, x86asm.SETB,
		x86asm.SETBE, x86asm.SETE, x86asm.SETG, x86asm.SETGE, x86asm.SETL, x86asm.SETLE, x86asm.SETNE, x86asm.SETNS, x86asm.SETS,
		x86asm.MOVD, x86asm.MOVQ, x86asm.MOVAPS, x86asm.MOVUPS, x86asm.MOVDQA, x86asm.MOVDQU, x86asm.MOVAPD, x86asm.MOVUPD, x86asm.MOVHPS,
		x86asm.MOVLPS, x86asm.MOVHPD, x86asm.MOVLPD, x86asm.MOVSD_XMM, x86asm.MOVSS, x86asm.PXOR, x86asm.XORPS, x86asm.XORPD,
		x86asm.PUNPCKLQDQ, x86asm.PUNPCKHQDQ, x86asm.UNPCKLPD, x86asm.PSHUFD, x86asm.PINSRQ, x86asm.CVTSI2SD:
		a.set(i, dst, value{}, s) // one thing is written, of no interest
	case x86asm.IMUL:
		if i.Args[1] == nil {
			s.regs[rax], s.regs[rdx] = value{}, value{}
		} else {
			a.set(i, dst, value{}, s)
		}
	case x86asm.CDQ, x86asm.CQO, x86asm.CDQE, x86asm.DIV, x86asm.IDIV, x86asm.MUL:
		s.regs[rax], s.regs[rdx] = value{}, value{}
	default:
		if m, ok := dst.(x86asm.Mem); ok {
			a.store(a.place(i, m, s), value{}, i.MemBytes, s)
		}
		sp := s.regs[rsp]
		s.forget()
		s.regs[rsp] = sp
	}
}

// call does what a call does, or a jump in place of one.
func (a *analysis) call(i insn, s *state) {
	var c call
	if to := i.target(); to != 0 {
		c = a.f.callee(to)
	} else if at, ok := i.address(i.Args[0]); ok {
		c = a.f.slotCall(at)
	} else if v := a.get(i, i.Args[0], s); v.kind == number {
		c = a.f.callee(v.n)
	} else if v.kind == foreign {
		c = known[v.s]
	}
	arg := func(n int) value { return s.regs[[...]int{rdi, rsi, rdx}[n]] }
	text := func(n int) string {
		if v := arg(n); v.kind == number {
			return a.f.text(v.n)
		}
		return ""
	}
	id := func(n int) string {
		if v := arg(n); v.kind == name {
			return v.s
		}
		return ""
	}
	under := func(name string) value {
		outer := arg(0)
		if outer.kind != class || outer.singleton || name == "" {
			return value{}
		}
		if outer.s != "Object" {
			name = outer.s + "::" + name
		}
		if len(name) > maxText {
			return value{}
		}
		return value{kind: class, s: name}
	}
	result := value{kind: object, n: i.at}
	found := value{}
	switch c {
	case defineTop, path:
		found = value{kind: class, s: text(0)}
	case defineUnder:
		found = under(text(1))
	case defineIDUnder, getConstant:
		found = under(id(1))
	case singleton:
		if found = arg(0); found.kind == class || found.kind == object {
			found.singleton = true
		}
	case intern:
		result = value{}
		found = value{kind: name, s: text(0)}
	case constant:
		a.object(arg(2), under(text(1)).s)
	case constantID:
		a.object(arg(2), under(id(1)).s)
	case globalConstant:
		a.object(arg(1), text(0))
	case method:
		a.define(arg(0), text(1), arg(2))
	case methodID:
		a.define(arg(0), id(1), arg(2))
	case singletonMethod, moduleFunction:
		v := arg(0)
		v.singleton = true
		a.define(v, text(1), arg(2))
		if c == moduleFunction {
			v.singleton = false
			a.define(v, text(1), arg(2))
		}
	case globalFunction:
		for _, singleton := range []bool{false, true} {
			a.define(value{kind: class, singleton: singleton, s: "Kernel"}, text(0), arg(1))
		}
	case alias:
		if a.record {
			if on, name, old := arg(0), text(1), text(2); (on.kind == class || on.kind == object) && name != "" && old != "" {
				a.defs = append(a.defs, definition{on: on, name: name, old: old})
			}
		}
	}
	if (found.kind == class || found.kind == name) && found.s != "" || found.kind == object {
		result = found
	}
	for _, r := range clobbered {
		s.regs[r] = value{}
	}
	s.regs[rax] = result
}

// define notes a method.
func (a *analysis) define(on value, name string, function value) {
	if !a.record || on.kind != class && on.kind != object || name == "" || function.kind != number || !a.f.isCode(function.n) ||
		slices.Contains(a.f.named[function.n], notImplemented) {
		return
	}
	a.defs = append(a.defs, definition{on: on, name: name, function: function.n})
}

// object notes the name of an object.
func (a *analysis) object(v value, name string) {
	if !a.record || v.kind != object || v.singleton || name == "" {
		return
	}
	if old, ok := a.objects[v.n]; ok && old != name {
		name = ""
	}
	a.objects[v.n] = name
}
