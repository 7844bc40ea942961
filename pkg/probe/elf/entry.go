package elf

import (
	"bytes"

	"golang.org/x/arch/x86/x86asm"
)

// Entry is where near the beginning of a function a probe costs least: at an
// instruction that the kernel acts out when the uprobe has been served: a push, a
// call, a jump or a nop (arch/x86/kernel/uprobes.c). All others it lets the
// processor step through, which takes 16 µs in a virtual machine instead of half
// a one. at is in bytes from the beginning; the stack pointer is depth bytes lower
// there. arguments: the function's first three are still in their registers, where
// the probe reads them. at is 0 where there is no better place.
func Entry(code []byte, arguments bool) (at, depth uint64) {
	const most = 16 // instructions that are looked at
	for range most {
		i, err := Decode(code[at:])
		if err != nil {
			return 0, 0
		}
		switch i.Op {
		case x86asm.PUSH:
			if _, ok := i.Args[0].(x86asm.Reg); ok {
				return at, depth
			}
			return 0, 0
		case x86asm.CALL:
			if _, ok := i.Args[0].(x86asm.Rel); ok && i.Len == 5 { // with a prefix it is not acted out
				return at, depth
			}
			return 0, 0
		case x86asm.SUB:
			imm, ok := i.Args[1].(x86asm.Imm)
			if !ok || i.Args[0] != x86asm.RSP || imm <= 0 {
				return 0, 0
			}
			depth += uint64(imm)
		case x86asm.NOP:
			if i.Len == 1 {
				return at, depth
			}
		case x86asm.MOV, x86asm.LEA, x86asm.XOR, x86asm.MOVSXD, x86asm.MOVZX:
			if i.Args[0] == x86asm.RSP || arguments && isArgument(i.Args[0]) {
				return 0, 0
			}
		case x86asm.TEST, x86asm.CMP:
		default:
			if _, ok := i.Args[0].(x86asm.Rel); ok { // jumps
				return at, depth
			}
			return 0, 0
		}
		at += uint64(i.Len)
	}
	return 0, 0
}

// isArgument reports whether an operand is, or is in, a register of the first
// three arguments.
func isArgument(a x86asm.Arg) bool {
	switch a {
	case x86asm.RDI, x86asm.EDI, x86asm.DI, x86asm.DIB, x86asm.RSI, x86asm.ESI, x86asm.SI, x86asm.SIB,
		x86asm.RDX, x86asm.EDX, x86asm.DX, x86asm.DL, x86asm.DH:
		return true
	}
	return false
}

// Decode decodes the instruction at the beginning of code.
func Decode(code []byte) (x86asm.Inst, error) {
	// Those of control-flow enforcement, which the decoder does not know.
	switch {
	case bytes.HasPrefix(code, []byte("\xf3\x0f\x1e\xfa")): // endbr64
		return x86asm.Inst{Op: x86asm.NOP, Len: 4}, nil
	case len(code) >= 5 && code[0] == 0xf3 && code[1]&^1 == 0x48 && code[2] == 0x0f &&
		(code[3] == 0x1e && code[4]&^7 == 0xc8 || code[3] == 0xae && code[4]&^7 == 0xe8): // rdsspq, incsspq
		return x86asm.Inst{Op: x86asm.NOP, Len: 5}, nil
	}
	inst, err := x86asm.Decode(code, 64)
	if err == nil && (inst.Op == 0 || inst.Len <= 0 || inst.Len > len(code)) {
		err = x86asm.ErrUnrecognized
	}
	return inst, err
}
