package cmethod

import (
	"encoding/binary"
	"fmt"
	"slices"

	velf "vivarium/pkg/probe/elf"

	"golang.org/x/arch/x86/x86asm"
)

// body is what is known of how one function, or part of one, is left.
type body struct {
	end   uint64   // behind it
	rets  []uint64 // its ret instructions
	jumps []jump   // out of itself
	other bool     // it jumps to what is not known
	table bool     // it jumps to what a table says
	err   error    // it has code that is not understood
}

// jump is one out of a function.
type jump struct {
	at     uint64 // its instruction
	to     uint64 // address, or of what it jumps through
	slot   bool   // it is that
	always bool   // it depends on nothing
}

// insn is an instruction.
type insn struct {
	x86asm.Inst
	at, next uint64
}

// decode calls each with the instructions of a function, in the order of their
// addresses.
func (f *File) decode(start uint64, code []byte, each func(insn)) error {
	for off := 0; off < len(code); {
		if f.decoded++; f.decoded > maxDecoded {
			return fmt.Errorf("%w: more than %d instructions", ErrFormat, maxDecoded)
		}
		inst, err := velf.Decode(code[off:])
		at := start + uint64(off)
		if err != nil {
			return fmt.Errorf("%w: instruction at %#x: %v", ErrBlind, at, err)
		}
		off += inst.Len
		each(insn{inst, at, at + uint64(inst.Len)})
	}
	return nil
}

// target is where a jump or call goes; 0: to what its operand says at run time.
func (i insn) target() uint64 {
	if rel, ok := i.Args[0].(x86asm.Rel); ok {
		return i.next + uint64(int64(rel))
	}
	return 0
}

// address is where an indirect jump or call takes its target from, or a load
// its value, if the instruction itself says it.
func (i insn) address(arg x86asm.Arg) (uint64, bool) {
	m, ok := arg.(x86asm.Mem)
	if !ok || m.Segment != 0 || m.Index != 0 || m.Base != x86asm.RIP && m.Base != 0 {
		return 0, false
	}
	if m.Base == 0 {
		return uint64(m.Disp), true
	}
	return i.next + uint64(m.Disp), true
}

func isJump(op x86asm.Op) bool {
	switch op {
	case x86asm.JA, x86asm.JAE, x86asm.JB, x86asm.JBE, x86asm.JCXZ, x86asm.JE, x86asm.JECXZ, x86asm.JG, x86asm.JGE, x86asm.JL, x86asm.JLE,
		x86asm.JMP, x86asm.JNE, x86asm.JNO, x86asm.JNP, x86asm.JNS, x86asm.JO, x86asm.JP, x86asm.JRCXZ, x86asm.JS,
		x86asm.LOOP, x86asm.LOOPE, x86asm.LOOPNE:
		return true
	}
	return false
}

// body decodes the function that an address is in; nil: in none.
func (f *File) body(addr uint64) (start uint64, b *body) {
	start, code, ok := f.function(addr)
	if !ok {
		return 0, nil
	}
	if b := f.bodies[start]; b != nil {
		return start, b
	}
	b, _ = f.scan(start, code, false)
	return start, b
}

// scan decodes a function, and keeps its instructions or not.
func (f *File) scan(start uint64, code []byte, keep bool) (b *body, insns []insn) {
	b = &body{end: start + uint64(len(code))}
	f.bodies[start] = b
	if keep {
		insns = make([]insn, 0, len(code)/4)
	}
	before := make([]insn, 0, 4*switchCode) // the last few
	b.err = f.decode(start, code, func(i insn) {
		if keep {
			insns = append(insns, i)
		}
		switch {
		case i.Op == x86asm.RET:
			b.rets = append(b.rets, i.at)
		case i.Op == x86asm.IRET || i.Op == x86asm.IRETD || i.Op == x86asm.IRETQ || i.Op == x86asm.LRET || i.Op == x86asm.LJMP || i.Op == x86asm.SYSRET:
			b.other = true
		case isJump(i.Op):
			if to := i.target(); to != 0 {
				if to < start || to >= b.end {
					b.jumps = append(b.jumps, jump{i.at, to, false, i.Op == x86asm.JMP})
				}
			} else if through, ok := i.address(i.Args[0]); ok {
				b.jumps = append(b.jumps, jump{i.at, through, true, true})
			} else if outside, ok := f.cases(i, before, start, b.end); ok {
				for _, to := range outside {
					b.jumps = append(b.jumps, jump{i.at, to, false, false})
				}
				b.table = true
			} else {
				b.other = true
			}
		}
		if len(before) == cap(before) {
			before = before[:copy(before, before[len(before)-switchCode:])]
		}
		before = append(before, i)
	})
	return b, insns
}

// switchCode is how many instructions before a jump are looked at for where it
// goes, and maxCases how many places that can be.
const (
	switchCode = 24
	maxCases   = 4096
)

// cases are the places outside its function that an indirect jump goes to, if
// it is one as compilers make them of switch:
//
//	cmp    $8,%edi
//	ja     default
//	lea    table(%rip),%rdx
//	movslq (%rdx,%rdi,4),%rax
//	add    %rdx,%rax
//	jmp    *%rax
//
// The entries of the table are distances from the table, of 4 bytes. A pointer
// to a function is never made so. What is not one is not ok.
func (f *File) cases(jump insn, before []insn, start, end uint64) (outside []uint64, ok bool) {
	before = before[max(0, len(before)-switchCode):]
	if m, ok := jump.Args[0].(x86asm.Mem); ok && m.Segment == 0 && m.Base == 0 && m.Scale == 8 {
		return f.addresses(uint64(m.Disp), before, start, end)
	}
	to, ok := jump.Args[0].(x86asm.Reg)
	if !ok {
		return nil, false
	}
	var base x86asm.Reg // what is added to the distance, or the distance
	distance, table, entries := false, uint64(0), uint64(0)
	var next x86asm.Op
	for _, i := range slices.Backward(before) {
		dst, _ := i.Args[0].(x86asm.Reg)
		if i.Op == x86asm.CDQE { // %eax to %rax
			dst = x86asm.RAX
		}
		if i.Op == x86asm.CALL || i.Op == x86asm.JMP || i.Op == x86asm.RET {
			break
		}
		above := next == x86asm.JA
		next = i.Op
		if base == 0 {
			if dst != to || i.Op == x86asm.CMP || i.Op == x86asm.TEST {
				continue
			}
			if base, ok = i.Args[1].(x86asm.Reg); i.Op != x86asm.ADD || !ok {
				return nil, false
			}
			continue
		}
		switch {
		case i.Op == x86asm.CMP:
			if n, ok := i.Args[1].(x86asm.Imm); ok && above && distance && entries == 0 && n >= 0 && n < maxCases {
				entries = uint64(n) + 1
			}
		case dst != to && dst != base:
		case i.Op == x86asm.LEA && table == 0:
			table, _ = i.address(i.Args[1])
		case !distance:
			_, isMem := i.Args[1].(x86asm.Mem)
			if distance = i.Op == x86asm.CDQE || i.Op == x86asm.MOVSXD && isMem; !distance {
				return nil, false
			}
		}
	}
	if table != 0 {
		// Of a table of unknown length, the first one shall do.
		b := f.bytes(table)
		for range max(1, entries) {
			if len(b) < 4 {
				return nil, false
			}
			at := table + uint64(int64(int32(binary.LittleEndian.Uint32(b))))
			if b = b[4:]; at < start || at >= end {
				outside = append(outside, at)
			}
		}
	}
	return outside, distance
}

// addresses are those of a table that a program at a fixed address has for a
// switch:
//
//	cmp    $8,%rdi
//	ja     default
//	jmp    *table(,%rdi,8)
func (f *File) addresses(table uint64, before []insn, start, end uint64) (outside []uint64, ok bool) {
	for n := len(before) - 1; n > 0; n-- {
		if before[n].Op == x86asm.CALL || before[n].Op == x86asm.JMP || before[n].Op == x86asm.RET {
			return nil, false
		}
		if before[n].Op != x86asm.JA {
			continue
		}
		most, ok := before[n-1].Args[1].(x86asm.Imm)
		b := f.bytes(table)
		if before[n-1].Op != x86asm.CMP || !ok || most < 0 || most >= maxCases || len(b) < 8*int(most+1) {
			return nil, false
		}
		for range most + 1 {
			if at := binary.LittleEndian.Uint64(b); at < start || at >= end {
				outside = append(outside, at)
			}
			b = b[8:]
		}
		return outside, true
	}
	return nil, false
}

// stub is the address of what a stub of the procedure linkage table jumps
// through.
func (f *File) stub(addr uint64) (uint64, bool) {
	b := f.bytes(addr)
	at := addr
	if len(b) >= 4 && string(b[:4]) == "\xf3\x0f\x1e\xfa" { // endbr64
		b, at = b[4:], at+4
	}
	if len(b) >= 1 && b[0] == 0xf2 { // bnd
		b, at = b[1:], at+1
	}
	if len(b) < 6 || b[0] != 0xff || b[1] != 0x25 {
		return 0, false
	}
	return at + 6 + uint64(int64(int32(binary.LittleEndian.Uint32(b[2:])))), true
}

// shared is how many calls of a function, and jumps to it, make it one that is
// not only there for those that end in it.
const shared = 8

// Ends tells where a frame of the function that begins at addr is left, sorted:
// the addresses of its ret instructions, and of those of the functions of the
// file that it ends in by a jump. Where it jumps to one that much else uses, or
// that is in another file, it is the address of the jump: a probe on the ret of
// such a one would make all others pay, and what it does is not seen as the
// frame's. At each of them the stack pointer is what it was at addr. An error is
// ErrBlind, or one of all the file.
func (f *File) Ends(addr uint64) ([]uint64, error) {
	start, _, ok := f.function(addr)
	if !ok || start != addr {
		return nil, fmt.Errorf("%w: no function begins at %#x", ErrBlind, addr)
	}
	if err := f.countUses(); err != nil {
		return nil, err
	}
	var ends []uint64
	seen := map[uint64]bool{}
	todo := []uint64{addr}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		start, b := f.body(at)
		if b == nil {
			return nil, fmt.Errorf("%w: it jumps to %#x, which is in no function", ErrBlind, at)
		}
		if seen[start] {
			continue
		}
		seen[start] = true
		if len(seen) > maxFunctions || len(ends)+len(b.rets) > maxEnds {
			return nil, fmt.Errorf("%w: it ends in too many others", ErrBlind)
		}
		if b.err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBlind, b.err)
		}
		if b.other {
			return nil, fmt.Errorf("%w: the function at %#x jumps to what it is told", ErrBlind, start)
		}
		ends = append(ends, b.rets...)
		for _, j := range b.jumps {
			if f.followed++; f.followed > maxFollowed {
				return nil, fmt.Errorf("%w: more than %d jumps out of functions", ErrFormat, maxFollowed)
			}
			to, own := f.destination(j)
			switch {
			case own && (!j.always || f.uses[to] <= shared):
				todo = append(todo, to)
			case j.always:
				ends = append(ends, j.at)
			default:
				return nil, fmt.Errorf("%w: its jump at %#x, which it does not always take, leads into another file", ErrBlind, j.at)
			}
		}
	}
	slices.Sort(ends)
	return slices.Compact(ends), nil
}

// destination is where in the file a jump leads, directly or through the
// procedure linkage table; own: it is in the file.
func (f *File) destination(j jump) (to uint64, own bool) {
	at := j.to
	if !j.slot {
		var stub bool
		if at, stub = f.stub(j.to); !stub {
			return j.to, true
		}
	}
	to = f.slots[at].addr
	return to, to != 0
}

// countUses counts the calls of, and jumps to, each address.
func (f *File) countUses() error {
	if f.uses != nil {
		return nil
	}
	f.uses = map[uint64]int{}
	return f.calls(func(_, to uint64, slot bool) {
		if to, own := f.destination(jump{to: to, slot: slot}); own && f.isStart(to) {
			f.uses[to]++
		}
	})
}
