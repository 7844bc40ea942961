package cmethod

import (
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

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
