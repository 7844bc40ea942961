package cmethod

import "golang.org/x/arch/x86/x86asm"

// Entry is where near the beginning of the function at addr a probe costs
// least: the kernel emulates a push, a call and a jump (branch_setup_xol_ops and
// push_setup_xol_ops in arch/x86/kernel/uprobes.c), where it steps through other
// instructions, which takes ten times as long in a virtual machine. depth is how
// far below its value at addr the stack pointer is there, bytes. Nothing is done
// before it that can be seen from outside, and no jump leads there. It is addr
// itself where there is no better one.
func (f *File) Entry(addr uint64) (at, depth uint64) {
	start, code, ok := f.function(addr)
	if !ok || start != addr {
		return addr, 0
	}
	const most = 16 // instructions that are looked at
	n, looking := 0, true
	at = addr
	err := f.decode(start, code, func(i insn) {
		if to := i.target(); isJump(i.Op) && to > addr && to <= at {
			at, depth, looking = addr, 0, false
		}
		if !looking {
			return
		}
		if n++; n > most {
			at, depth, looking = addr, 0, false
			return
		}
		at = i.at
		switch i.Op {
		case x86asm.PUSH:
			_, ok := i.Args[0].(x86asm.Reg)
			looking = !ok
		case x86asm.CALL:
			looking = i.target() == 0 || i.Len != 5 // with a prefix it is not emulated
		case x86asm.SUB:
			if imm, ok := i.Args[1].(x86asm.Imm); ok && i.Args[0] == x86asm.RSP && imm > 0 {
				depth += uint64(imm)
				return
			}
		case x86asm.MOV, x86asm.LEA, x86asm.XOR, x86asm.TEST, x86asm.CMP, x86asm.MOVSXD, x86asm.MOVZX, x86asm.NOP:
			if i.Args[0] != x86asm.RSP {
				return
			}
		}
		if looking { // any other instruction
			at, depth, looking = addr, 0, false
		}
	})
	if err != nil || looking {
		return addr, 0
	}
	return at, depth
}
